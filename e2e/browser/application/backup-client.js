import { configure } from '../../../portfolio/src/index.js';
import { getDB } from './db.js';
configure({ baseUrl: '', getDB });
export * from '../../../portfolio/src/compat.js';
