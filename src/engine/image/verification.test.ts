import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { isKind, RuntimeError } from "../../base/errors.ts";
import type { CrashPoint } from "../../core/operation/index.ts";
import { createContainer, startContainer } from "../container/index.ts";
import { FakeEngine, FakeWorld, never } from "../testing/engine.ts";
import { FakeVerification } from "../testing/fake-verification.ts";
import { containerRequest } from "../testing/objects.ts";
import { pullImage, removeImage, verifyImage } from "./index.ts";

const app = "docker.io/library/app";

interface Setup {
  readonly engine: FakeEngine;
  readonly fake: FakeVerification;
  readonly target: `sha256:${string}`;
}

function verifyingEngine(t: TestContext, loaded?: "accept"): Setup {
  const world = new FakeWorld(t);
  const fake = new FakeVerification();
  const verification = fake.begin(world, loaded);
  const engine = new FakeEngine(t, {
    world,
    images: { verification },
    containers: { verification },
  });
  const { resolved } = world.source.publish("app", { layers: ["base", "app"] });
  fake.verifier.wanted.set(app, "good");
  return { engine, fake, target: resolved.digest };
}

const pull = (engine: FakeEngine, namespace = ""): Promise<string> =>
  pullImage(engine.images, { name: "app", auth: undefined, namespace }, never);

const refused = (reason: RegExp) => (error: unknown) => {
  assert.ok(isKind(error, "permission-denied"), String(error));
  assert.match(String(error), /SignatureValidationFailed: /);
  assert.match(String(error), reason);
  return true;
};

test("a pull is refused before a layer is fetched, and says by which policy and why", async (t) => {
  const { engine } = verifyingEngine(t);
  await assert.rejects(
    pull(engine),
    refused(/rejected by the fake policy: it needs signature "good"/),
  );
  assert.equal(engine.images.store.find("app"), undefined);
  assert.equal(engine.world.source.opened.size, 0);
});

test("a signed image is pulled and started; neither create nor start asks the registry", async (t) => {
  const { engine, fake, target } = verifyingEngine(t);
  fake.registry.sign(target, "good");
  await pull(engine);
  assert.equal(fake.registry.asked, 1);
  fake.registry.isDown = true;
  const sandbox = await engine.run();
  await engine.start(sandbox);
  assert.equal(fake.registry.asked, 1);
  const [first] = fake.verifier.asked;
  assert.equal(first?.target.digest, target);
  // The verdict is remembered: one question for the pull, one for the create.
  assert.equal(fake.verifier.asked.length, 2);
});

test("an image that no policy is about needs no question, and no registry", async (t) => {
  const { engine, fake } = verifyingEngine(t);
  fake.verifier.wanted.clear();
  await pull(engine);
  fake.kept.all.clear();
  fake.registry.isDown = true;
  await engine.start(await engine.run());
  assert.equal(fake.registry.asked, 0);
});

test("after a change of the policy, a running container keeps running, and the next start asks", async (t) => {
  const { engine, fake, target } = verifyingEngine(t);
  fake.registry.sign(target, "good");
  await pull(engine);
  const sandbox = await engine.run();
  const running = await engine.start(sandbox);
  const waiting = await engine.create(sandbox, { metadata: { name: "b", attempt: 0 } });
  fake.verifier.wanted.set(app, "better");
  await assert.rejects(startContainer(engine.containers, waiting, never), refused(/"better"/));
  assert.equal(engine.containers.store.get(running).state.name, "running");
  // The registry has a new signature: it is asked once, and the answer is kept.
  fake.registry.sign(target, "better");
  await engine.world.time.advance(31_000);
  const asked = fake.registry.asked;
  const another = await engine.create(sandbox, { metadata: { name: "c", attempt: 0 } });
  fake.registry.isDown = true;
  await startContainer(engine.containers, another, never);
  assert.equal(fake.registry.asked, asked + 1);
});

test("a rejection is remembered for a while: until the policy changes, or an image is pulled", async (t) => {
  const { engine, fake, target } = verifyingEngine(t);
  fake.registry.sign(target, "good");
  await pull(engine);
  const sandbox = await engine.run();
  const rejected = async (asks: number): Promise<void> => {
    const { asked } = fake.registry;
    await assert.rejects(
      createContainer(engine.containers, containerRequest(sandbox), never),
      refused(/rejected by .*"better"/),
    );
    assert.equal(fake.registry.asked, asked + asks);
  };
  fake.verifier.wanted.set(app, "better");
  await rejected(1);
  await rejected(0);
  await engine.world.time.advance(31_000);
  await rejected(1);
  fake.verifier.wanted.set("other", "x");
  await rejected(1);
  fake.registry.sign(target, "better");
  await rejected(0);
  await pull(engine);
  await createContainer(engine.containers, containerRequest(sandbox), never);
});

test("a registry that does not answer does not hide why the kept signatures are not enough", async (t) => {
  const { engine, fake, target } = verifyingEngine(t);
  fake.registry.sign(target, "good");
  await pull(engine);
  fake.verifier.wanted.set(app, "better");
  fake.registry.isDown = true;
  const sandbox = await engine.run();
  await assert.rejects(
    engine.create(sandbox),
    refused(/create container .*verify image "docker.io\/library\/app:latest".*"better"/),
  );
});

test("a registry that hangs does not hide why the kept signatures are not enough", async (t) => {
  const { engine, fake, target } = verifyingEngine(t);
  fake.registry.sign(target, "good");
  await pull(engine);
  fake.verifier.wanted.set(app, "better");
  fake.registry.hangs = true;
  const sandbox = await engine.run();
  const rejected = assert.rejects(engine.create(sandbox), refused(/rejected by .*"better"/));
  await engine.world.time.advance(11_000);
  await rejected;
});

test("without kept signatures, a start says that the registry hangs, and blames no image", async (t) => {
  const { engine, fake, target } = verifyingEngine(t);
  fake.registry.sign(target, "good");
  await pull(engine);
  fake.kept.all.clear();
  const { resolved } = engine.world.source.publish(`${app}@${target}`, { layers: ["base", "app"] });
  fake.registry.sign(resolved.digest, "good");
  fake.registry.hangs = true;
  const sandbox = await engine.run();
  const refusal = assert.rejects(engine.create(sandbox), (error) => {
    assert.ok(isKind(error, "unavailable"), String(error));
    assert.match(String(error), /registry "docker.io" did not answer within 10 s/);
    return true;
  });
  await engine.world.time.advance(11_000);
  await refusal;
  fake.registry.hangs = false;
  fake.registry.needsSecret = true;
  const create = (): Promise<string> =>
    createContainer(engine.containers, containerRequest(sandbox), never);
  await assert.rejects(create(), refused(/run davit pull --creds USER "docker.io\/library\/app/));
  fake.registry.needsSecret = false;
  await create();
});

test("a registry that does not answer fails the pull as such", async (t) => {
  const { engine, fake } = verifyingEngine(t);
  fake.registry.isDown = true;
  await assert.rejects(pull(engine), (error) => isKind(error, "unavailable"));
  fake.verifier.trouble = new RuntimeError("internal", "the verifier ended");
  await assert.rejects(pull(engine), refused(/could not be verified: the verifier ended/));
});

test("an image that was pulled without a policy is verified by its digest in the registry", async (t) => {
  const { engine, fake, target } = verifyingEngine(t);
  fake.verifier.wanted.clear();
  await pull(engine);
  fake.kept.all.clear();
  const { source } = engine.world;
  const { resolved } = source.publish(`${app}@${target}`, { layers: ["base", "app"] });
  fake.verifier.wanted.set(app, "good");
  const sandbox = await engine.run();
  await assert.rejects(engine.create(sandbox), refused(/"good"/));
  fake.registry.sign(resolved.digest, "good");
  await engine.world.time.advance(31_000);
  await engine.create(sandbox);
  // Another image by that digest is not the one on this node.
  fake.kept.all.clear();
  source.publish(`${app}@${target}`, { layers: ["other"] });
  fake.verifier.wanted.set("other", "x");
  await assert.rejects(
    engine.create(sandbox, { metadata: { name: "b", attempt: 0 } }),
    refused(/could not be verified: .*pull it/),
  );
});

test("another, unsigned manifest of a signed image does not stop its starts", async (t) => {
  const { engine, fake, target } = verifyingEngine(t);
  fake.verifier.wanted.clear();
  fake.verifier.wanted.set(`strict/${app}`, "good");
  fake.registry.sign(target, "good");
  await pull(engine, "strict");
  const { resolved } = engine.world.source.publish("app:other", { layers: ["base", "app"] });
  assert.notEqual(resolved.digest, target);
  await pullImage(engine.images, { name: "app:other", auth: undefined, namespace: "lax" }, never);
  fake.registry.isDown = true;
  const sandbox = await engine.run({
    metadata: { name: "a", uid: "1", namespace: "strict", attempt: 0 },
  });
  await engine.start(sandbox);
  // A signed one replaces what is kept.
  fake.registry.isDown = false;
  fake.registry.sign(resolved.digest, "good");
  await pullImage(
    engine.images,
    { name: "app:other", auth: undefined, namespace: "strict" },
    never,
  );
  assert.equal([...fake.kept.all.values()][0]?.target.digest, resolved.digest);
});

test("policies of a namespace are about its pods only", async (t) => {
  const { engine, fake } = verifyingEngine(t);
  fake.verifier.wanted.clear();
  fake.verifier.wanted.set(`strict/${app}`, "good");
  await assert.rejects(pull(engine, "strict"), refused(/"good"/));
  await pull(engine, "lax");
  const lax = await engine.run({ metadata: { name: "a", uid: "1", namespace: "lax", attempt: 0 } });
  await engine.start(lax);
  const strict = await engine.run({
    metadata: { name: "b", uid: "2", namespace: "strict", attempt: 0 },
  });
  await assert.rejects(engine.create(strict), refused(/"good"/));
});

test("an image volume is verified as the image of the container", async (t) => {
  const { engine, fake } = verifyingEngine(t);
  fake.verifier.wanted.set("docker.io/library/data", "good");
  fake.verifier.wanted.delete(app);
  const { resolved } = engine.world.source.publish("data", { layers: ["data"] });
  fake.registry.sign(resolved.digest, "good");
  await pullImage(engine.images, { name: "data", auth: undefined }, never);
  const sandbox = await engine.run();
  await pull(engine);
  const mounts = [{ containerPath: "/data", image: { image: "data" } }];
  const create = (): Promise<string> =>
    createContainer(engine.containers, containerRequest(sandbox, { mounts }), never);
  const id = await create();
  fake.verifier.wanted.set("docker.io/library/data", "better");
  await assert.rejects(startContainer(engine.containers, id, never), refused(/"better"/));
});

for (const loaded of [undefined, "accept"] as const) {
  test(`an image that was loaded is ${loaded ?? "verified by its name"}`, async (t) => {
    const { engine, fake } = verifyingEngine(t, loaded);
    fake.verifier.wanted.clear();
    await pull(engine);
    const known = engine.images.store.find("app");
    assert.ok(known);
    engine.images.store.remove(known.id);
    engine.images.store.put({ ...known, repoDigests: [] });
    fake.kept.all.clear();
    fake.verifier.wanted.set(app, "good");
    const sandbox = await engine.run();
    if (loaded === "accept") await engine.create(sandbox);
    else await assert.rejects(engine.create(sandbox), refused(/"good"/));
  });
}

test("an image without a name is accepted only where every name is, in create and in verify", async (t) => {
  const { engine, fake } = verifyingEngine(t);
  fake.verifier.wanted.clear();
  const id = await pull(engine);
  const known = engine.images.store.find("app");
  assert.ok(known);
  engine.images.store.remove(known.id);
  engine.images.store.put({ ...known, repoTags: [], repoDigests: [] });
  const sandbox = await engine.run();
  const create = (name: string): Promise<string> => {
    const more = { image: { image: id }, metadata: { name, attempt: 0 } };
    return createContainer(engine.containers, containerRequest(sandbox, more), never);
  };
  const explain = () =>
    verifyImage(engine.images, { name: id, namespace: "", auth: undefined }, never);
  await create("a");
  assert.equal((await explain()).refusal, undefined);
  fake.verifier.wanted.set("other", "good");
  const why = /the image has no name that a policy could be for: run davit tag/;
  await assert.rejects(create("b"), refused(why));
  assert.ok(refused(why)((await explain()).refusal));
});

test("a failure while an image is verified names the stage, and the next try works", async (t) => {
  const { engine, fake, target } = verifyingEngine(t);
  fake.registry.sign(target, "good");
  const failing = async (point: CrashPoint, doing: string, work: () => Promise<unknown>) => {
    engine.faults.fail(point);
    const message = new RegExp(`^${doing} ".*" \\(stage verify-image, `);
    await assert.rejects(work(), { kind: "internal", message });
    engine.faults.heal(point);
  };
  await failing("pull-image/verify-image", "pull image", () => pull(engine));
  assert.deepEqual([...engine.images.store.all()], []);
  assert.equal(engine.world.source.opened.size, 0);
  await pull(engine);
  const sandbox = await engine.run();
  await failing("create-container/verify-image", "create container", () => engine.create(sandbox));
  assert.deepEqual([...engine.containers.store.all()], []);
  const container = await engine.create(sandbox);
  const start = () => startContainer(engine.containers, container, never);
  await failing("start-container/verify-image", "start container", start);
  assert.equal(engine.containers.store.get(container).state.name, "exited");
  await engine.start(sandbox, { metadata: { name: "b", attempt: 0 } });
});

test("the removal of an image removes what is kept of it", async (t) => {
  const { engine, fake, target } = verifyingEngine(t);
  fake.registry.sign(target, "good");
  await pull(engine);
  assert.equal(fake.kept.all.size, 1);
  await removeImage(engine.images, "app");
  assert.equal(fake.kept.all.size, 0);
});

test("verifyImage() explains for an image on the node, one in the registry, and without a policy", async (t) => {
  const { engine, fake, target } = verifyingEngine(t);
  const ask = () =>
    verifyImage(engine.images, { name: "app", namespace: "", auth: undefined }, never);
  const before = await ask();
  assert.equal(before.presentId, undefined);
  assert.match(String(before.refusal), /verify image "docker.io\/library\/app:latest"/);
  fake.registry.sign(target, "good");
  const id = await pull(engine);
  const after = await ask();
  assert.equal(after.presentId, id);
  assert.equal(after.refusal, undefined);
  assert.equal(after.reports[0]?.opinions[0]?.verdict?.decision, "accepted");
  const none = await verifyImage(
    { store: engine.images.store },
    { name: "app", namespace: "", auth: undefined },
    never,
  );
  assert.equal(none.isConfigured, false);
});
