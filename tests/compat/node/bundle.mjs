// A bundle by @tigrisdata/storage, read by tar-stream. Arguments: JSON file of keys, compression,
// mode of errors, file. Tells in JSON each member's name, size and SHA-256, or the error. With a
// file it unpacks nothing and writes the bundle there.
import { createHash } from "node:crypto";
import { createWriteStream, readFileSync } from "node:fs";
import { PassThrough, Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { bundle } from "@tigrisdata/storage";
import tar from "tar-stream";

const [keysPath, compression, onError, path] = process.argv.slice(2);
const { data, error } = await bundle(JSON.parse(readFileSync(keysPath)), { compression, onError });
if (error) {
  process.stdout.write(JSON.stringify({ error: error.message }));
} else if (path) {
  await pipeline(Readable.fromWeb(data.body), createWriteStream(path));
  process.stdout.write(JSON.stringify({ type: data.contentType }));
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
