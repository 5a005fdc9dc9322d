/** davit pause and davit resume, and the commands that show what is paused. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Davit, podOf, sleeper } from "../support/suites/cli.ts";
import { Node } from "../support/suites/containers.ts";

let node: Node;
let davit: Davit;
before(async () => {
  node = await Node.startWithBusybox();
  davit = new Davit(node.daemon);
});
after(() => node[Symbol.asyncDispose]());

test("pods and containers are paused and resumed by name, as with docker, and listings show it", async () => {
  await davit.withPods(`${podOf("one", sleeper)}---${podOf("two", sleeper)}`, async () => {
    // Each is printed as soon as it is done.
    const printed = (await davit.done("pause", "one", "two/main")).trimEnd().split("\n");
    assert.deepEqual(printed.toSorted(), ["one", "two/main"]);
    const rows = (await davit.done("ps")).split("\n").filter((row) => / main /.test(row));
    assert.equal(rows.length, 2);
    for (const row of rows) assert.match(row, / running \d+ s \(paused\)/);
    const frame = JSON.parse(await davit.done("top", "-o", "json")) as {
      pods: { containers: { state: string }[] }[];
    };
    const states = frame.pods.flatMap(({ containers }) => containers.map(({ state }) => state));
    assert.deepEqual(states, ["paused", "paused"]);
    const since = /paused at 20\S+Z; resume it with "davit resume [0-9a-f]{64}"/;
    assert.match(await davit.done("describe", "one"), since);
    assert.match(await davit.done("why", "two/main"), since);
    const { code, err } = await davit.run("exec", "one", "true");
    assert.notEqual(code, 0);
    assert.match(err, /it is paused; resume it with "davit resume [0-9a-f]{64}"/);

    assert.equal(await davit.done("unpause", "one"), "one\n");
    assert.equal(await davit.done("container", "unpause", "two/main"), "two/main\n");
    assert.doesNotMatch(await davit.done("ps"), /paused/);
    assert.match(await davit.done("why", "one"), /\bpause\b[\s\S]*\bresume\b/);
    await davit.done("exec", "one", "true");
  });
});

test("a failure names the object, and others are paused all the same", async () => {
  await davit.withPods(podOf("web", sleeper), async () => {
    const some = await davit.run("pause", "web", "nothing");
    assert.notEqual(some.code, 0);
    assert.match(some.err, /nothing/);
    assert.doesNotMatch(await davit.done("ps"), /paused/, "all operands are resolved first");
    await davit.done("kill", "web");
    const ended = await davit.run("pause", "web");
    assert.notEqual(ended.code, 0);
    assert.match(ended.err, /pause pod "web".*: no container of the pod is running/);
  });
});
