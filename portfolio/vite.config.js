import { defineConfig } from 'vite';

export default defineConfig({
  // The page is served at / and, beside a site, at /backups/ or wherever its owner puts it.
  base: './',
  server: { proxy: { '/api': 'http://127.0.0.1:3081' } },
  build: {
    target: 'es2022',
    // Nothing inlined: the page's Content-Security-Policy names files of this origin only.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
});
