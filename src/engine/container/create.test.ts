import assert from "node:assert/strict";
import { describe, test, type TestContext } from "node:test";
import { RuntimeError } from "../../base/errors.ts";
import { stages } from "../../core/operation/index.ts";
import { NamespaceMode, SupplementalGroupsPolicy } from "../../gen/runtime/v1/api_pb.ts";
import { pullImage, removeImage } from "../image/index.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { settle } from "../testing/manual-time.ts";
import { containerRequest } from "../testing/objects.ts";
import { stopPodSandbox } from "../sandbox/index.ts";
import { createContainer } from "./create.ts";
import { removeContainer } from "./remove.ts";

/** Entered only while images are verified, and for checkpoints; verification.test.ts and restore.test.ts test them. */
const otherStages: ReadonlySet<string> = new Set(["verify-image", "open-checkpoint", "copy-log"]);
const volumeImage = { containerPath: "/data", image: { image: "data" } };

/** Published with volumes, a user and a stop signal of its own. */
const config = {
  User: "app:app",
  StopSignal: "SIGUSR1",
  Volumes: { "/var/lib/app": {}, "/proc/x": {} },
};

/** An engine with a pod and the image "app". */
async function setUp(t: TestContext, options = {}) {
  const engine = new FakeEngine(t, options);
  engine.world.source.publish("app", { layers: ["base", "app"], config });
  engine.world.source.publish("data", { layers: ["data"] });
  for (const name of ["app", "data"]) {
    await pullImage(engine.images, { name, auth: undefined }, never);
  }
  return { engine, pod: await engine.run() };
}

function assertNothingIsLeft({ world, containers }: FakeEngine): void {
  const { host, records, roots } = world;
  for (const thing of ["root", "volumes", "bundle", "process"] as const) {
    assert.deepEqual(host.idsOf(thing), []);
  }
  assert.deepEqual([records.containers.rows.size, roots.mounted.size], [0, 0]);
  assert.deepEqual([...containers.store.all()], []);
  assert.deepEqual(containers.operations.views(), []);
}

describe("createContainer()", () => {
  test("returns the id of a listed container with a mounted root, as request and image specify", async (t) => {
    const { engine, pod } = await setUp(t);
    const { roots, records } = engine.world;
    const input = containerRequest(pod, { mounts: [volumeImage] });
    const id = await createContainer(engine.containers, input, never);
    const container = engine.containers.store.resolve(id);
    const image = engine.images.store.find("app");
    assert.deepEqual(container, records.containers.rows.get(id));
    assert.equal(container.state.name, "created");
    assert.equal(container.requestBytes, input.requestBytes);
    assert.deepEqual(
      container.image.layers,
      image?.layers.map(({ diffId }) => diffId),
    );
    assert.deepEqual(
      [container.image.shown, container.image.ref, container.image.requested],
      [image?.repoTags[0], image?.repoDigests[0], "app"],
    );
    assert.equal(container.imageVolumes[0]?.image, engine.images.store.find("data")?.id);
    assert.deepEqual(container.volumes, ["/var/lib/app"]);
    assert.deepEqual(container.user, { uid: 1000n, gid: 1000n, supplementalGroups: [2000n] });
    assert.equal(container.stopSignal, "SIGUSR1");
    assert.equal(container.cgroupPath, `/davit/${pod}/${id}`);
    assert.deepEqual(roots.mounted.get(id)?.layers, container.image.layers);
    assert.equal(roots.images.get(id)?.[0]?.name, "data");
    assert.deepEqual(roots.copied.get(id), ["/var/lib/app"]);
    assert.deepEqual(engine.world.host.idsOf("process"), []);
    const message = "ignored image volumes that would hide kernel file systems";
    const [warning] = engine.log.filter((line) => line.message === message);
    assert.deepEqual(warning?.fields["volumes"], ["/proc/x"]);
  });

  test("enters each stage once, in the order of the list", async (t) => {
    const { engine, pod } = await setUp(t);
    const input = containerRequest(pod, { mounts: [volumeImage] });
    const id = await createContainer(engine.containers, input, never);
    const [past] = engine.containers.operations.history.of(id);
    assert.deepEqual(
      past?.stages.map(({ stage }) => stage),
      stages["create-container"].filter((stage) => !otherStages.has(stage)),
    );
  });

  test("creates no volumes of the image if the configuration ignores them", async (t) => {
    const { engine, pod } = await setUp(t, { containers: { ignoreVolumes: true } });
    const id = await engine.create(pod);
    assert.deepEqual(engine.containers.store.get(id).volumes, []);
    assert.equal(engine.world.roots.copied.size, 0);
  });

  test("says that the stop signal of an image is not a signal, and stops with SIGTERM", async (t) => {
    const { engine, pod } = await setUp(t);
    const odd = { ...config, StopSignal: "SIGNONSENSE" };
    engine.world.source.publish("odd", { layers: ["base"], config: odd });
    await pullImage(engine.images, { name: "odd", auth: undefined }, never);
    const input = containerRequest(pod, { image: { image: "odd" } });
    const id = await createContainer(engine.containers, input, never);
    assert.equal(engine.containers.store.get(id).stopSignal, "SIGTERM");
    const [line] = engine.log.filter(({ message }) =>
      message.startsWith("ignored the stop signal"),
    );
    assert.equal(line?.fields["stopSignal"], '"SIGNONSENSE"');
  });

  test("gives a root the limit of its sandbox", async (t) => {
    const asked: string[] = [];
    const layerLimitOf = ({ id }: { readonly id: string }): number => {
      asked.push(id);
      return 4096;
    };
    const { engine, pod } = await setUp(t, { containers: { layerLimitOf } });
    const id = await engine.create(pod);
    assert.equal(engine.world.roots.mounted.get(id)?.options.limitBytes, 4096);
    assert.deepEqual(asked, [pod]);
  });

  test("gives roots the label of the container, and the pod's user namespace", async (t) => {
    const { engine, pod } = await setUp(t);
    const { roots, specs } = engine.world;
    const plain = await engine.create(pod);
    assert.deepEqual(roots.mounted.get(plain)?.options, {
      users: undefined,
      label: undefined,
      limitBytes: 0,
    });
    const range = [{ containerId: 0, hostId: 65_536, length: 65_536 }];
    const usernsOptions = { mode: NamespaceMode.POD, uids: range, gids: range };
    const userPod = await engine.run({
      metadata: { name: "user", namespace: "", uid: "", attempt: 0 },
      linux: { securityContext: { namespaceOptions: { usernsOptions } } },
    });
    specs.label = "system_u:object_r:container_file_t:s0";
    const id = await engine.create(userPod);
    assert.deepEqual(roots.mounted.get(id)?.options, {
      users: { namespace: `/ns/user/${userPod}`, uid: 65_536, gid: 65_536 },
      label: specs.label,
      limitBytes: 0,
    });
  });

  test("maps no ids if the pod's user namespace is not pinned", async (t) => {
    const environmentOf = () => ({ pins: {}, files: {} });
    const { engine } = await setUp(t, { containers: { environmentOf } });
    const range = [{ containerId: 0, hostId: 65_536, length: 65_536 }];
    const usernsOptions = { mode: NamespaceMode.POD, uids: range, gids: range };
    const pod = await engine.run({
      metadata: { name: "user", namespace: "", uid: "", attempt: 0 },
      linux: { securityContext: { namespaceOptions: { usernsOptions } } },
    });
    const id = await engine.create(pod);
    assert.equal(engine.world.roots.mounted.get(id)?.options.users, undefined);
  });

  const users = [
    { name: "a name", securityContext: { runAsUsername: "root" }, uid: 0n, gid: 0n, groups: [] },
    {
      name: "a number and a group",
      securityContext: { runAsUser: { value: 7n }, runAsGroup: { value: 8n } },
      uid: 7n,
      gid: 8n,
      groups: [],
    },
    {
      name: "a group for the image's user",
      securityContext: { runAsGroup: { value: 8n }, supplementalGroups: [9n] },
      uid: 1000n,
      gid: 8n,
      groups: [9n, 2000n],
    },
    {
      name: "no groups of the image",
      securityContext: { supplementalGroupsPolicy: SupplementalGroupsPolicy.Strict },
      uid: 1000n,
      gid: 1000n,
      groups: [],
    },
  ];
  for (const { name, securityContext, uid, gid, groups } of users) {
    test(`uses the user of the request: ${name}`, async (t) => {
      const { engine, pod } = await setUp(t);
      const id = await engine.create(pod, { linux: { securityContext } });
      const { user } = engine.containers.store.get(id);
      assert.deepEqual(user, { uid, gid, supplementalGroups: groups });
    });
  }
});

describe("createContainer() rejects, and creates nothing for,", () => {
  test("a pod that does not exist, and one that is not ready", async (t) => {
    const { engine, pod } = await setUp(t);
    await assert.rejects(engine.create("none"), { kind: "not-found" });
    engine.world.controller.die(pod, "its holder was killed");
    await settle();
    const message =
      /^create container: sandbox .* is not ready: its holder was killed; run a new one/;
    await assert.rejects(engine.create(pod), { kind: "failed-precondition", message });
    await stopPodSandbox(engine.sandboxes, pod, never);
    await assert.rejects(engine.create(pod), { message: /is not ready; run a new one/ });
    assertNothingIsLeft(engine);
  });

  test("a pod that stops being ready before the record is written", async (t) => {
    const { engine, pod } = await setUp(t);
    const hang = engine.faults.hang("create-container/write-record");
    const create = engine.create(pod);
    await hang.arrived;
    engine.world.controller.die(pod, "its holder was killed");
    await settle();
    hang.release();
    await assert.rejects(create, { kind: "failed-precondition", message: /is not ready/ });
    assertNothingIsLeft(engine);
  });

  test("an invalid config, and a target that does not exist", async (t) => {
    const { engine, pod } = await setUp(t);
    const { image: _image, ...rest } = containerRequest(pod).request.config ?? {};
    const empty = containerRequest(pod);
    Object.assign(empty.request, { config: { ...rest, image: undefined } });
    await assert.rejects(createContainer(engine.containers, empty, never), {
      kind: "invalid-argument",
    });
    const linux = { securityContext: { namespaceOptions: { targetId: "none" } } };
    await assert.rejects(engine.create(pod, { linux }), {
      kind: "not-found",
      message: /target_id/,
    });
    assertNothingIsLeft(engine);
  });

  test("an image that is not present, as root or as a volume", async (t) => {
    const { engine, pod } = await setUp(t);
    const message = /image "none" is not present on this node; pull it first/;
    await assert.rejects(engine.create(pod, { image: { image: "none" } }), {
      kind: "not-found",
      message,
    });
    const mounts = [{ containerPath: "/data", image: { image: "none" } }];
    await assert.rejects(engine.create(pod, { mounts }), {
      kind: "not-found",
      message: /image "none" of mount "\/data"/,
    });
    assertNothingIsLeft(engine);
  });

  test("an artifact, which has no program", async (t) => {
    const { engine, pod } = await setUp(t);
    engine.world.source.publish("model:1", { layers: ["weights"], paths: ["weights.bin"] });
    await pullImage(engine.images, { name: "model:1", auth: undefined }, never);
    await assert.rejects(engine.create(pod, { image: { image: "model:1" } }), {
      kind: "failed-precondition",
      message: /"model:1" is an OCI artifact of type ".*model", .*; mount it as an image volume/,
    });
    assertNothingIsLeft(engine);
  });

  test("a container that cannot be recorded on a full disk", async (t) => {
    const { engine, pod } = await setUp(t);
    engine.world.records.full = true;
    await assert.rejects(engine.create(pod), {
      kind: "resource-exhausted",
      message: /stage write-record/,
    });
    engine.world.records.full = false;
    await engine.world.time.advance(6_000);
    assertNothingIsLeft(engine);
  });

  test("an attempt whose container a client knows", async (t) => {
    const { engine, pod } = await setUp(t);
    const id = await engine.create(pod);
    await assert.rejects(engine.create(pod), { kind: "already-exists", message: new RegExp(id) });
    await engine.create(pod, { metadata: { name: "app", attempt: 1 } });
  });
});

describe("createContainer() undoes everything", () => {
  for (const stage of stages["create-container"].filter((each) => !otherStages.has(each))) {
    test(`when stage ${stage} fails or reaches the deadline, and the next try works`, async (t) => {
      const { engine, pod } = await setUp(t);
      const mounts = [volumeImage];
      engine.faults.fail(`create-container/${stage}`);
      const create = engine.create(pod, { mounts });
      await assert.rejects(create, { kind: "internal", message: new RegExp(`stage ${stage}`) });
      assertNothingIsLeft(engine);
      engine.faults.hang(`create-container/${stage}`);
      const late = engine.create(pod, { mounts });
      const rejected = assert.rejects(late, { kind: "deadline-exceeded" });
      await engine.world.time.advance(120_000);
      await rejected;
      assertNothingIsLeft(engine);
      engine.faults.heal(`create-container/${stage}`);
      await engine.create(pod, { mounts });
    });
  }

  test("when a driver fails midway", async (t) => {
    const { engine, pod } = await setUp(t);
    const { roots, rootFiles, specs } = engine.world;
    const create = () => engine.create(pod, { mounts: [volumeImage] });
    roots.trouble.fail("mount", undefined, 1);
    await assert.rejects(create(), /stage mount-root.*mount broke/);
    roots.trouble.fail("mountImages", new RuntimeError("not-found", "no layer"), 1);
    await assert.rejects(create(), {
      kind: "not-found",
      message: /ImageVolumeMountFailed: no layer/,
    });
    roots.trouble.fail("copyVolumes", undefined, 1);
    await assert.rejects(create(), /stage copy-volumes/);
    rootFiles.trouble.fail("resolveUser", undefined, 1);
    await assert.rejects(create(), /stage resolve-user/);
    specs.trouble.fail("build", new RuntimeError("invalid-argument", "bad mount"), 1);
    await assert.rejects(create(), {
      kind: "invalid-argument",
      message: /prepare-spec.*bad mount/,
    });
    assertNothingIsLeft(engine);
  });

  test("including its layers, when their image was removed meanwhile", async (t) => {
    const { engine, pod } = await setUp(t);
    const hang = engine.faults.hang("create-container/prepare-spec");
    const create = engine.create(pod);
    await hang.arrived;
    await removeImage(engine.images, "app");
    assert.equal(engine.world.layers.list().length, 3);
    engine.faults.fail("create-container/finish-record");
    hang.release();
    await assert.rejects(create);
    await settle();
    assert.equal(engine.world.layers.list().length, 1);
  });

  test("in the background when it cannot do so at once", async (t) => {
    const { engine, pod } = await setUp(t);
    engine.world.roots.trouble.fail("remove");
    engine.faults.fail("create-container/finish-record");
    const rejected = assert.rejects(engine.create(pod), /fault at/);
    await engine.world.time.advance(500);
    await rejected;
    assert.equal(engine.world.host.idsOf("root").length, 1);
    await assert.rejects(engine.create(pod), { kind: "unavailable" });
    engine.world.roots.trouble.heal("remove");
    await engine.world.time.advance(5_000);
    assertNothingIsLeft(engine);
  });
});

describe("createContainer(), called again,", () => {
  test("lets an equal request join the one in progress, and rejects a different one", async (t) => {
    const { engine, pod } = await setUp(t);
    const hang = engine.faults.hang("create-container/mount-root");
    const first = engine.create(pod);
    await hang.arrived;
    const second = engine.create(pod);
    const other = engine.create(pod, { tty: true });
    const message = /a different request has been creating it for 0 s, stage mount-root/;
    await assert.rejects(other, { kind: "failed-precondition", message });
    hang.release();
    assert.equal(await first, await second);
  });

  test("returns the held container to the retry of a caller that disconnected, or removes it in the end", async (t) => {
    const { engine, pod } = await setUp(t);
    const leave = async (): Promise<void> => {
      const caller = new AbortController();
      const hang = engine.faults.hang("create-container/mount-root");
      const create = createContainer(engine.containers, containerRequest(pod), caller.signal);
      await hang.arrived;
      caller.abort(new Error("the caller left"));
      await assert.rejects(create, /the caller left/);
      hang.release();
      await settle();
    };
    await leave();
    const { store } = engine.containers;
    assert.deepEqual([[...store.all()].length, [...store.listed()].length], [1, 0]);
    const id = await engine.create(pod);
    assert.deepEqual(
      [...store.listed()].map((each) => each.id),
      [id],
    );
    await removeContainer(engine.containers, id, never);
    await leave();
    await engine.world.time.advance(121_000);
    assertNothingIsLeft(engine);
  });
});
