// A bundle by @tigrisdata/storage, read by tar-stream. Arguments: JSON file of keys, compression,
// mode of errors. Tells in JSON each member's name, size and SHA-256, or the error.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { PassThrough, Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { bundle } from "@tigrisdata/storage";
import tar from "tar-stream";

const [keysPath, compression, onError] = process.argv.slice(2);
const { data, error } = await bundle(JSON.parse(readFileSync(keysPath)), { compression, onError });
if (error) {
  process.stdout.write(JSON.stringify({ error: error.message }));
} else {
  const members = [];
  let errors = null;
  const extract = tar.extract();
  extract.on("entry", async (header, stream, next) => {
    const pieces = [];
    for await (const piece of stream) pieces.push(piece);
    const body = Buffer.concat(pieces);
    if (header.name === "__bundle_errors.json") errors = JSON.parse(body);
    else members.push([header.name, body.length, createHash("sha256").update(body).digest("hex")]);
    next();
  });
  const unpacked = compression === "gzip" ? createGunzip() : new PassThrough();
  await pipeline(Readable.fromWeb(data.body), unpacked, extract);
  process.stdout.write(JSON.stringify({ type: data.contentType, members, errors }));
}
