import { defineConfig } from 'vite';

export default defineConfig({
  server: { proxy: { '/api': 'http://127.0.0.1:3081' } },
  build: {
    target: 'es2022',
    // Nothing inlined: the page's Content-Security-Policy names files of this origin only.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
});
