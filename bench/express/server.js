// The least Express server for backups: `node server.js PORT DIRECTORY [durable]`.
// Plain it writes as such servers do; durable it also survives a power cut after its answer.

import { randomBytes } from "node:crypto";
import { open, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import cors from "cors";
import express from "express";

const [port, directory, durable] = process.argv.slice(2);

async function sync(path) {
  const file = await open(path);
  await file.sync();
  await file.close();
}

async function writeDurably(path, text) {
  const file = await open(`${path}.tmp`, "w");
  await file.writeFile(text);
  await file.sync();
  await file.close();
  await rename(`${path}.tmp`, path);
  await sync(directory);
}

const app = express();
app.use(cors());
app.use(express.json({ limit: "60mb" }));

app.post("/api/backup", async (request, response) => {
  const timestamp = new Date().toISOString();
  const id = `${timestamp.replace(/[:.]/g, "-")}-${randomBytes(4).toString("hex")}`;
  const text = JSON.stringify({ id, timestamp, version: 1, data: request.body }, null, 2);
  const write = durable ? writeDurably : writeFile;
  await write(join(directory, `backup-${id}.json`), text);
  response.status(201).json({ id, timestamp, size: Buffer.byteLength(text) });
});

app.get("/api/health", (_, response) => {
  response.json({ status: "ok", timestamp: new Date().toISOString() });
});

app.listen(Number(port), "127.0.0.1");
