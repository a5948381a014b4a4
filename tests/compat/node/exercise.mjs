// What a program does with @aws-sdk/client-s3. Arguments: bucket, big file.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createReadStream, readFileSync } from "node:fs";
import {
  CopyObjectCommand, DeleteObjectsCommand, GetObjectCommand, HeadObjectCommand, paginateListObjectsV2,
  PutObjectCommand, S3Client,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

const [Bucket, bigPath] = process.argv.slice(2);
const s3 = new S3Client({ endpoint: process.env.AWS_ENDPOINT_URL, region: "auto", forcePathStyle: true });
const read = async (Key, more = {}) => {
  const got = await s3.send(new GetObjectCommand({ Bucket, Key, ...more }));
  return Buffer.from(await got.Body.transformToByteArray());
};

const bodies = new Map();
for (let n = 0; n < 1000; n++) bodies.set(`p${n % 7}/k${n}`, Buffer.from(`${n}`.repeat(n % 50)));
for (const Key of ["a b", "a+b", "a%b", "a//b", "日本", "../x", "a/../b", "k".repeat(1024)])
  bodies.set(Key, Buffer.from(Key));
const keys = [...bodies.keys()];
const inParallel = async (work) => {
  const queue = [...keys];
  await Promise.all(Array.from({ length: 16 }, async () => {
    for (let key; (key = queue.pop()) !== undefined;) await work(key);
  }));
};
await inParallel((Key) => s3.send(new PutObjectCommand({ Bucket, Key, Body: bodies.get(Key) })));
await inParallel(async (Key) => assert.deepEqual(await read(Key), bodies.get(Key)));

const listed = [];
for await (const page of paginateListObjectsV2({ client: s3 }, { Bucket }))
  listed.push(...page.Contents.map((entry) => entry.Key));
const byBytes = (a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b));
assert.deepEqual(listed, keys.toSorted ? keys.toSorted(byBytes) : [...keys].sort(byBytes));

await new Upload({
  client: s3, partSize: 8 * 2 ** 20, params: { Bucket, Key: "big", Body: createReadStream(bigPath) },
}).done();
const digest = (bytes) => createHash("sha256").update(bytes).digest("hex");
assert.equal(digest(await read("big")), digest(readFileSync(bigPath)));
assert.equal((await read("big", { Range: "bytes=-10" })).length, 10);

await s3.send(new CopyObjectCommand({ Bucket, Key: "copy", CopySource: `${Bucket}/a%20b` }));
assert.equal((await read("copy")).toString(), "a b");

const link = await getSignedUrl(s3, new GetObjectCommand({ Bucket, Key: "a b" }));
assert.equal(await (await fetch(link)).text(), "a b");

for (let n = 0; n < keys.length; n += 1000) {
  const Objects = keys.slice(n, n + 1000).map((Key) => ({ Key }));
  await s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects, Quiet: true } }));
}
await assert.rejects(s3.send(new HeadObjectCommand({ Bucket, Key: "a b" })), { name: "NotFound" });
process.stdout.write("ok\n");
