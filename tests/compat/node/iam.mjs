// What a program does with @tigrisdata/iam. The environment names the endpoint and root's key.
import assert from "node:assert/strict";
import * as iam from "@tigrisdata/iam";

const ok = async (promise) => {
  const { data, error } = await promise;
  assert.equal(error, undefined, error?.message);
  return data;
};
const fails = async (promise, pattern) => {
  const { error } = await promise;
  assert.match(error?.message ?? "it did not fail", pattern);
};

// --- access keys ---
const key = await ok(iam.createAccessKey("from-js", { bucketsRoles: [] }));
assert.match(key.id, /^tid_[A-Za-z0-9]{26}$/);
assert.match(key.secret, /^tsec_/);
assert.equal(key.name, "from-js");
await ok(iam.assignBucketRoles(key.id, [
  { bucket: "one-bucket", role: "Editor" }, { bucket: "another", role: "ReadOnly" },
]));
let got = await ok(iam.getAccessKey(key.id));
assert.deepEqual(got.roles, [
  { bucket: "one-bucket", role: "Editor" }, { bucket: "another", role: "ReadOnly" },
]);
assert.equal(got.status, "active");
assert.equal(got.organizationId, "root");
assert.ok(Math.abs(got.createdAt - Date.now()) < 600_000);
await ok(iam.revokeAllBucketRoles(key.id));
assert.deepEqual((await ok(iam.getAccessKey(key.id))).roles, []);
await ok(iam.assignBucketRoles(key.id, [{ bucket: "*", role: "NamespaceAdmin" }]));
const rotated = await ok(iam.rotateAccessKey(key.id));
assert.equal(rotated.id, key.id);
assert.notEqual(rotated.newSecret, key.secret);
await fails(iam.getAccessKey("tid_unknown"), /not found/i);
await fails(iam.rotateAccessKey("tid_unknown"), /does not exist/);

const more = [];
for (const name of ["a", "b", "c"]) more.push((await ok(iam.createAccessKey(name))).id);
const listed = [];
for (let paginationToken; ;) {
  const page = await ok(iam.listAccessKeys({ limit: 2, paginationToken }));
  assert.ok(page.accessKeys.length <= 2);
  listed.push(...page.accessKeys.map(({ id }) => id));
  paginationToken = page.paginationToken;
  if (!paginationToken) break;
}
assert.equal(new Set(listed).size, listed.length);
for (const id of [key.id, ...more]) assert.ok(listed.includes(id));

// --- policies ---
const statement = {
  sid: "Office", effect: "Allow", action: ["s3:GetObject", "s3:ListBucket"], resource: "*",
  condition: { IpAddress: { "aws:SourceIp": ["203.0.113.0/24"] } },
};
const document = { version: "2012-10-17", statements: [statement] };
const policy = await ok(iam.addPolicy("from-js", { document, description: "of the office" }));
assert.equal(policy.resource, "arn:aws:iam::root:policy/from-js");
assert.equal(policy.attachmentCount, 0);
await fails(iam.addPolicy("from-js", { document, description: "" }), /./);
await ok(iam.attachPolicyToAccessKey(more[0], policy.resource));
let read = await ok(iam.getPolicy(policy.resource));
assert.deepEqual(read.document, document);
assert.deepEqual(read.users, [{ id: more[0], name: "a" }]);
assert.equal(read.attachmentCount, 1);
assert.equal(read.description, "of the office");
assert.deepEqual((await ok(iam.listPoliciesForAccessKey(more[0]))).policies, ["from-js"]);
assert.deepEqual((await ok(iam.listPoliciesForAccessKey(more[1]))).policies, []);
statement.effect = "Deny";
await ok(iam.editPolicy(policy.resource, { document }));
read = await ok(iam.getPolicy(policy.resource));
assert.deepEqual(read.document, document);
assert.equal(read.description, "of the office");
const policies = (await ok(iam.listPolicies())).policies;
assert.ok(policies.some(({ resource }) => resource === policy.resource));
await ok(iam.detachPolicyFromAccessKey(more[0], policy.resource));
await fails(iam.detachPolicyFromAccessKey(more[0], policy.resource), /not attached/);
await ok(iam.attachPolicyToAccessKey(more[0], policy.resource));
await ok(iam.deletePolicy(policy.resource)); // which detaches
assert.deepEqual((await ok(iam.listPoliciesForAccessKey(more[0]))).policies, []);
for (const id of [key.id, ...more]) await ok(iam.removeAccessKey(id));
await fails(iam.getAccessKey(key.id), /not found/i);

// --- the organization ---
const me = await ok(iam.whoami());
assert.deepEqual(me, { userId: process.env.TIGRIS_STORAGE_ACCESS_KEY_ID, organizationId: "root" });
const organization = await ok(iam.createOrganization("Made by JS"));
const { organizations } = await ok(iam.listOrganizations());
const made = organizations.find(({ id }) => id === organization.id);
assert.deepEqual({ ...made }, { id: organization.id, name: "Made by JS", slug: "made-by-js" });
await ok(iam.inviteUser([{ email: "a@example.com", role: "admin" }, { email: "b@example.com", role: "member" }]));
let users = await ok(iam.listUsers());
const invited = Object.fromEntries(users.invitations.map(({ email, id }) => [email, id]));
assert.deepEqual(Object.keys(invited).sort(), ["a@example.com", "b@example.com"]);
await ok(iam.revokeInvitation([invited["b@example.com"]]));
await ok(iam.updateUserRole([{ userId: invited["a@example.com"], role: "admin" }])); // joins
users = await ok(iam.listUsers());
assert.deepEqual(users.invitations, []);
const [member] = users.users;
assert.deepEqual([member.email, member.role, member.isOrgOwner], ["a@example.com", "admin", false]);
const { teamId } = await ok(iam.createTeam({ name: "ml", description: "d", members: [member.userId] }));
await ok(iam.editTeam(teamId, { name: "ml2" }));
const [team] = (await ok(iam.listTeams())).teams;
assert.deepEqual([team.id, team.name, team.members], [teamId, "ml2", [member.userId]]);
await ok(iam.deleteTeam(teamId));
await ok(iam.removeUser([member.userId]));
assert.deepEqual((await ok(iam.listUsers())).users, []);
console.log("ok");
