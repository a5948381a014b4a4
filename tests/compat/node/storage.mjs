// What a program does with @tigrisdata/storage, as far as Amur has it. Argument: bucket to make.
import assert from "node:assert/strict";
import {
  copy, createBucket, get, getPartsPresignedUrls, getRestoreInfo, getSignedUploadUrl, head,
  initMultipartUpload, list, listVersions, move, put, remove, removeBucket, setObjectAccess,
} from "@tigrisdata/storage";

const bucket = process.argv[2];
const config = { bucket };
const ok = async (answer) => {
  const { data, error } = await answer;
  assert.ifError(error);
  return data;
};
const fails = async (answer, message) => assert.equal((await answer).error.message, message);
const text = (key, more = {}) => ok(get(key, "string", { config, ...more }));

await ok(createBucket(bucket, { access: "public", locations: { type: "global" } }));
assert.match((await createBucket(bucket)).error.message, /you already own it/);

// put, get, head
const odd = "a b/ü+%(1)!#?.txt";
const stored = await ok(put(odd, "hello", {
  config, contentType: "text/x", cacheControl: "no-store", metadata: { color: "blue" },
}));
assert.equal(stored.etag, '"5d41402abc4b2a76b9719d911017c592"');
assert.equal(await (await fetch(stored.url)).text(), "hello");
await fails(put(odd, "again", { config, allowOverwrite: false }), "File already exists");
const { body, metadata } = await text(odd, { includeMetadata: true, range: { start: 1, end: 2 } });
assert.equal(body, "el");
assert.equal(metadata.contentRange, "bytes 1-2/5");
assert.deepEqual(metadata.userMetadata, { color: "blue" });
const told = await ok(head(odd, { config }));
assert.deepEqual(
  [told.size, told.contentType, told.cacheControl, told.metadata],
  [5, "text/x", "no-store", { color: "blue" }],
);
assert.equal(await ok(head("none", { config })), undefined);
await fails(get("none", "string", { config }), "File not found in Tigris Storage");

const big = Buffer.alloc(20_000_000, "0123456789abcdef");
let progress = 0;
await ok(put("big", big, {
  config, multipart: true, contentDisposition: "attachment",
  onUploadProgress: ({ percentage }) => { progress = percentage; },
}));
assert.equal(progress, 100);
const chunks = [];
for await (const chunk of await ok(get("big", "stream", { config }))) chunks.push(chunk);
assert.ok(Buffer.concat(chunks).equals(big));

// list
const names = Array.from({ length: 50 }, (_, n) => `list/${String(n).padStart(2, "0")}`);
await Promise.all(names.map((name) => ok(put(name, name, { config }))));
const listed = [];
let paginationToken;
do {
  const page = await ok(list({ config, prefix: "list/", limit: 7, paginationToken }));
  listed.push(...page.items.map(({ name }) => name));
  assert.equal(page.hasMore, page.paginationToken !== undefined);
  paginationToken = page.paginationToken;
} while (paginationToken);
assert.deepEqual(listed, names);
assert.deepEqual((await ok(list({ config, delimiter: "/" }))).commonPrefixes, ["a b/", "list/"]);
const { versions } = await ok(listVersions({ config, prefix: "list/0" }));
assert.deepEqual(versions.map(({ name }) => name), names.slice(0, 10));

// copy, move, remove
await ok(copy(odd, "copy +#.txt", { config }));
await ok(move("copy +#.txt", "moved (1)!.txt", { config }));
assert.equal(await text("moved (1)!.txt"), "hello");
assert.equal(await ok(head("copy +#.txt", { config })), undefined);
await fails(move(odd, "big", { config }), "Conflict");
await ok(remove(odd, { config }));
await ok(remove(odd, { config }));
assert.equal(await ok(head(odd, { config })), undefined);
assert.equal(await ok(getRestoreInfo("big", { config })), undefined);

// links and forms for uploads
const metadataSent = { Who: "me" };
for (const more of [{}, { maxSize: 100 }]) {
  const upload = await ok(getSignedUploadUrl("up.txt", {
    config, contentType: "text/y", metadata: metadataSent, ...more,
  }));
  assert.equal(upload.method, more.maxSize ? "POST" : "PUT");
  const sent = upload.method === "PUT" ? upload.method : new FormData();
  if (upload.method === "POST") {
    for (const [name, value] of Object.entries(upload.fields)) sent.append(name, value);
    sent.append("file", new Blob([upload.method]));
  }
  const { method, headers } = upload;
  const answer = await fetch(upload.url, { method, headers, body: sent });
  assert.ok(answer.ok, await answer.text());
  const up = await text("up.txt", { includeMetadata: true });
  assert.equal(up.body, upload.method);
  assert.deepEqual([up.metadata.contentType, up.metadata.userMetadata], ["text/y", { who: "me" }]);
}
const { uploadId } = await ok(initMultipartUpload("parts", { config }));
for (const { url, part } of await ok(getPartsPresignedUrls("parts", [1, 2], uploadId, { config }))) {
  const answer = await fetch(url, { method: "PUT", body: `part ${part}` });
  assert.ok(answer.ok && answer.headers.get("etag"), await answer.text());
}

// access: the bucket's objects are public, its listing is not
const plain = `${new URL(stored.url).origin}/${bucket}`;
assert.equal((await fetch(`${plain}/big`, { method: "HEAD" })).status, 200);
assert.equal((await fetch(plain)).status, 403);
await fails(setObjectAccess("big", { config, access: "private" }), "The bucket does not allow ACLs.");

await ok(removeBucket(bucket, { force: true }));
await fails(list({ config }), "Unable to list objects The specified bucket does not exist.");
process.stdout.write("ok\n");
