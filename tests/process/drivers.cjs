// The official JavaScript driver, unchanged, against the endpoint in argv; every line is a fact.
const assert = require("node:assert/strict");
const {
  AbortError, Client, ConstraintFailureError, DocumentReference, NullDocument, Page,
  QueryCheckError, QueryRuntimeError, TimeStub, AuthenticationError, fql,
} = require("fauna");

const [endpoint, name] = process.argv.slice(2);
const client = new Client({ endpoint: new URL(endpoint), secret: "secret", long_type: "bigint" });
const ask = async (query) => (await client.query(query)).data;
const items = fql([name]);

async function documents() {
  await ask(fql`Collection.create({
    name: ${name},
    indexes: { byKind: { terms: [{ field: "kind" }], values: [{ field: "rank" }] } },
    constraints: [{ unique: ["code"] }],
  })`);
  const made = await ask(fql`${items}.create({ id: "7", kind: "a", rank: 3, code: "x" })`);
  assert.equal(made.id, "7");
  assert.ok(made.ts instanceof TimeStub);
  assert.equal((await ask(fql`${items}.byId("7")`)).code, "x");
  assert.equal((await ask(fql`${items}.byId("7")!.update({ rank: 4 })`)).rank, 4);
  const replaced = await ask(fql`${items}.byId("7")!.replace({ kind: "b", code: "y" })`);
  assert.deepEqual([replaced.rank, replaced.kind], [undefined, "b"]);
  const refused = ask(fql`${items}.create({ kind: "a", code: "y" })`);
  await assert.rejects(refused, (error) => {
    assert.ok(error instanceof ConstraintFailureError);
    assert.deepEqual(error.constraint_failures[0].paths, [["code"]]);
    return true;
  });
  assert.ok((await ask(fql`${items}.byId("7")!.delete()`)) instanceof NullDocument);
  assert.ok((await ask(fql`${items}.byId("7")`)) instanceof NullDocument);
}

async function sets() {
  const rows = Array.from({ length: 25 }, (_, n) => ({
    kind: n % 2 ? "odd" : "even", rank: 25 - n, code: `c${n}`,
  }));
  await ask(fql`${rows}.forEach((row) => ${items}.create(row))`);
  assert.equal(await ask(fql`${items}.all().count()`), 25);
  assert.equal(await ask(fql`${items}.where(.rank > 20).count()`), 5);
  const odd = await ask(fql`${items}.byKind("odd").map(.rank)`);
  assert.ok(odd instanceof Page);
  assert.deepEqual(odd.data, Array.from({ length: 12 }, (_, n) => 2 + 2 * n));
  const top = await ask(fql`${items}.all().order(desc(.rank)).pageSize(2).map(.rank)`);
  assert.deepEqual(top.data, [25, 24]);
  const seen = [];
  for await (const page of client.paginate(fql`${items}.all().pageSize(10)`)) {
    seen.push(...page.map((item) => item.code));
  }
  assert.equal(new Set(seen).size, 25);
  const reference = await ask(fql`{ it: ${items}.all().first() }`);
  assert.equal(reference.it.coll.name, name);
  assert.ok(new DocumentReference({ coll: name, id: "1" }));
}

async function language() {
  assert.equal(await ask(fql`let a = 2; let b = 3; if (a < b) a * b + 1 else 0`), 7);
  assert.equal(await ask(fql`"ab".toUpperCase() + "c".length.toString()`), "AB1");
  assert.deepEqual(await ask(fql`[3, 1, 2].order().map((n) => n * 2)`), [2, 4, 6]);
  assert.deepEqual(await ask(fql`Object.assign({ a: 1 }, { b: [true, null] })`), { a: 1, b: [true, null] });
  assert.equal(await ask(fql`${9007199254740993n} + 1`), 9007199254740994n);
  const time = await ask(fql`Time.fromString("2026-01-02T03:04:05Z").add(1, "day")`);
  assert.equal(time.isoString, "2026-01-03T03:04:05Z");
  await assert.rejects(ask(fql`abort({ why: "not today" })`), (error) => {
    assert.ok(error instanceof AbortError);
    assert.deepEqual(error.abort, { why: "not today" });
    return true;
  });
  await assert.rejects(ask(fql`1 +`), QueryCheckError);
  await assert.rejects(ask(fql`1 / 0`), QueryRuntimeError);
  const stranger = new Client({ endpoint: new URL(endpoint), secret: "wrong" });
  await assert.rejects(stranger.query(fql`1`), AuthenticationError);
  stranger.close();
}

(async () => {
  for (const part of [documents, sets, language]) {
    await part();
    console.log(part.name);
  }
  client.close();
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
