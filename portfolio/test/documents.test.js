/**
 * Which files and which records are refused, and in which words.
 */

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';

import { BackupError, readBackup } from '../src/index.js';
import { entryOf } from '../src/serialize.js';

async function failureOf(promise) {
  const error = await promise.then(() => assert.fail('nothing was thrown'), (reason) => reason);
  assert(error instanceof BackupError, String(error));
  return error.message;
}

const read = (content) => readBackup(new File([content], 'notes.txt'));

const HEAD = { id: 'x', timestamp: '2026-01-01T00:00:00.000Z', version: 1 };

/** A file of the earlier server, which has no digest. */
const express = (members) => JSON.stringify({ ...HEAD, data: {}, ...members });

const NO_BACKUPS = [
  ['', 'notes.txt is no backup: it is not JSON'],
  ['a shopping list', 'notes.txt is no backup: it is not JSON'],
  [new Uint8Array([0x1f, 0x8b, 8, 0]), 'it is not JSON'],
  [new Uint8Array([...new TextEncoder().encode('{"id":"'), 0xff, 0x22, 0x7d]), 'it is not JSON'],
  ['[]', 'it is not JSON'],
  ['{}', 'lacks an id, a timestamp or its data'],
  ['{"atoms": [{"slug": "a1"}]}', 'lacks an id, a timestamp or its data'],
  [express().slice(0, -1), 'it is not JSON'],
  [express({ timestamp: 'yesterday' }), 'lacks an id, a timestamp or its data'],
  [express({ data: [] }), 'lacks an id, a timestamp or its data'],
  [express({ version: 2 }), 'version 2'],
  [express({ data: { atoms: {} } }), 'no list of atoms'],
];

for (const [content, words] of NO_BACKUPS) {
  test(`a file that is no backup is an error: ${content}`, async () => {
    const message = await failureOf(read(content));
    assert(message.includes(words), message);
  });
}

/** A document as the server writes it: the digest is of all but its own digits. */
function signed(indent) {
  const head = { ...HEAD, device: { sha256: '0'.repeat(64) }, sha256: '' };
  const document = { ...head, data: { title: 'über', sha256: '1'.repeat(64) } };
  const text = JSON.stringify(document, null, indent);
  const at = text.search(/"",\s*"data"/) + 1;
  return [text.slice(0, at), text.slice(at)].join(createHash('sha256').update(text).digest('hex'));
}

for (const indent of [0, 2]) {
  test(`a damaged file is found by its outermost digest, indent ${indent}`, async () => {
    const text = signed(indent);
    assert.equal((await read(text)).data.title, 'über');
    const { sha256, data, ...head } = JSON.parse(text);
    await read(JSON.stringify({ ...head, data })); // edited by hand, and without a digest
    for (const damaged of [text.replace('über', 'uber'), text.replace('00', '01')]) {
      assert((await failureOf(read(damaged))).includes('SHA-256'));
    }
  });
}

const ring = {};
ring.self = ring;
const ODD = [
  [new Date(0), 'title is a Date'],
  [NaN, 'title is NaN'],
  [-Infinity, 'title is -Infinity'],
  [10n, 'BigInt'],
  [{ deep: [1, new Map()] }, '1 is a Map'],
  [[1, , 3], '1 is a undefined'],
  [new Blob(['x']), 'title is a Blob'],
  [new Uint8Array(3), 'title is a Uint8Array'],
  [ring, 'circular'],
];

for (const [title, words] of ODD) {
  test(`a value that JSON cannot hold is an error that names the record: ${words}`, () => {
    const { error } = entryOf('snapshots', 'odd', { id: 'odd', title });
    assert(String(error).includes(words), String(error));
  });
}
