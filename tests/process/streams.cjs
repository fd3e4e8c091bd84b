// Feeds and streams through the official JavaScript driver, unchanged; every line is a fact.
const assert = require("node:assert/strict");
const { Client, EventSource, FaunaError, fql } = require("fauna");

const [endpoint, name] = process.argv.slice(2);
const client = new Client({ endpoint: new URL(endpoint), secret: "secret", max_attempts: 20 });
const ask = async (query) => (await client.query(query)).data;
const items = fql([name]);
const seen = (events) => events.map((event) => [event.type, event.data.n]);

async function feed(source) {
  const pages = [];
  for await (const page of client.feed(source, { page_size: 2 })) {
    pages.push(seen([...page.events]));
    assert.ok(page.cursor && page.stats);
  }
  assert.deepEqual(pages.flat(), [["add", 0], ["add", 1], ["add", 2], ["update", 11]]);
  const rest = client.feed(fql`${items}.all().eventSource()`);
  assert.deepEqual([...(await rest.nextPage()).events], []);
}

async function stream(source) {
  const events = [];
  const running = client.stream(source);
  await new Promise((resolve, reject) => {
    running.start((event) => {
      events.push(event);
      if (events.length === 4) {
        ask(fql`${items}.where(.n == 11).first()!.delete()`).catch(reject);
      }
      if (events.length === 5) resolve();
    }, reject);
  });
  running.close();
  const expected = [["add", 0], ["add", 1], ["add", 2], ["update", 11], ["remove", 11]];
  assert.deepEqual(seen(events), expected);
  assert.ok(running.last_ts > 0);
}

async function refusals(source) {
  const bad = client.stream(source, { cursor: "x" });
  await assert.rejects(bad[Symbol.asyncIterator]().next(), (error) => {
    assert.ok(error instanceof FaunaError);
    assert.equal(error.code, "invalid_request");
    return true;
  });
  const failing = client.feed(fql`${items}.all().map((i) => i.n / 0).eventSource()`);
  await failing.nextPage();
  await ask(fql`${items}.create({ n: 9 })`);
  const late = client.feed(source).nextPage();
  assert.equal([...(await late).events].length, 6);
}

(async () => {
  await ask(fql`Collection.create({ name: ${name} })`);
  const source = await ask(fql`${items}.all().eventSource()`);
  assert.ok(source.token);
  await ask(fql`Set.sequence(0, 3).forEach((n) => ${items}.create({ n: n }))`);
  await ask(fql`${items}.where(.n == 1).first()!.update({ n: 11 })`);
  for (const part of [feed, stream, refusals]) {
    await part(source);
    console.log(part.name);
  }
  client.close();
  process.exit(0);
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
