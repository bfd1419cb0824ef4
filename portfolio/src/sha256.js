/**
 * SHA-256 (FIPS 180-4), synchronous: digests are compared inside IndexedDB transactions, which
 * end when anything else is awaited, and on plain-http hosts, where `crypto.subtle` is missing.
 */

const { initial, constants } = tables();
const encoder = new TextEncoder();
const schedule = new Uint32Array(64);

/**
 * @param {string} text hashed as UTF-8
 * @returns {string} 64 hexadecimal digits
 */
export function sha256(text) {
  const { blocks, count } = padded(encoder.encode(text));
  const state = Uint32Array.from(initial);
  for (let block = 0; block < count; block += 1) compress(state, blocks, block * 64);
  return [...state].map((word) => word.toString(16).padStart(8, '0')).join('');
}

/** @param {Uint8Array} bytes */
function padded(bytes) {
  const count = Math.ceil((bytes.length + 9) / 64);
  const buffer = new Uint8Array(count * 64);
  buffer.set(bytes);
  buffer[bytes.length] = 0x80;
  const blocks = new DataView(buffer.buffer);
  const bits = bytes.length * 8;
  blocks.setUint32(buffer.length - 8, Math.floor(bits / 2 ** 32));
  blocks.setUint32(buffer.length - 4, bits >>> 0);
  return { blocks, count };
}

/**
 * @param {Uint32Array} state
 * @param {DataView} blocks
 * @param {number} offset
 */
function compress(state, blocks, offset) {
  const w = schedule;
  for (let t = 0; t < 16; t += 1) w[t] = blocks.getUint32(offset + 4 * t);
  for (let t = 16; t < 64; t += 1) {
    const x = w[t - 15];
    const y = w[t - 2];
    const small0 = rotate(x, 7) ^ rotate(x, 18) ^ (x >>> 3);
    const small1 = rotate(y, 17) ^ rotate(y, 19) ^ (y >>> 10);
    w[t] = w[t - 16] + small0 + w[t - 7] + small1;
  }
  let [a, b, c, d, e, f, g, h] = state;
  for (let t = 0; t < 64; t += 1) {
    const big1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
    const first = (h + big1 + ((e & f) ^ (~e & g)) + constants[t] + w[t]) | 0;
    const big0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
    const second = (big0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + first) | 0;
    d = c;
    c = b;
    b = a;
    a = (first + second) | 0;
  }
  [a, b, c, d, e, f, g, h].forEach((word, index) => {
    state[index] += word;
  });
}

/**
 * @param {number} word
 * @param {number} by
 */
function rotate(word, by) {
  return (word >>> by) | (word << (32 - by));
}

/** The fractional parts of the roots of the first primes (sections 4.2.2 and 5.3.3). */
function tables() {
  /** @type {number[]} */
  const primes = [];
  for (let n = 2; primes.length < 64; n += 1) {
    if (primes.every((prime) => n % prime !== 0)) primes.push(n);
  }
  const fraction = (/** @type {number} */ root) => Math.floor((root % 1) * 2 ** 32);
  return {
    initial: Uint32Array.from(primes.slice(0, 8), (prime) => fraction(Math.sqrt(prime))),
    constants: Uint32Array.from(primes, (prime) => fraction(Math.cbrt(prime))),
  };
}
