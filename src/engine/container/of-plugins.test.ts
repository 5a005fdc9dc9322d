import assert from "node:assert/strict";
import { test } from "node:test";
import type { OciSpec } from "../../core/oci/index.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { removeContainer, startContainer } from "./index.ts";

const none = { updates: [], evictions: [] };

test("the spec of a container that is over is not built: that makes the directories of its volumes again", async (t) => {
  const engine = new FakeEngine(t);
  const { plugins, specs, runtime } = engine.world;
  const seen: (OciSpec | undefined)[] = [];
  plugins.stopContainer = async (of) => {
    seen.push(await of.spec());
    return none;
  };
  plugins.removeContainer = async (of) => {
    seen.push(await of.spec());
  };
  const pod = await engine.run();
  const created = await engine.create(pod);
  const failed = await engine.create(pod, { metadata: { name: "second" } });
  runtime.trouble.fail("start");
  await assert.rejects(startContainer(engine.containers, failed, never), /start broke/);
  let built = 0;
  const build = specs.build.bind(specs);
  specs.build = (subject) => {
    built += 1;
    return build(subject);
  };
  for (const id of [created, failed]) await removeContainer(engine.containers, id, never);
  assert.deepEqual(seen, [undefined, undefined, undefined, undefined]);
  assert.equal(built, 0);
});
