/**
 * Today's daemon on what each released version has left on the disk: after a reboot, with its layers, records and
 * images; and beside running pods, whose records and bundles have the form of that version.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { TestDaemon } from "../support/daemon.ts";
import {
  checkLayers,
  extractRoot,
  fixtureImage,
  fixtureRepository,
  type Format,
  formats,
  makeFixtureImage,
  readFormat,
  writeAsBefore,
} from "../support/formats.ts";
import {
  closePod,
  containerStatus,
  createIn,
  EXITED,
  exited,
  inPod,
  layersThere,
  listImages,
  Node,
  openPod,
  pull,
  removeAllImages,
  RUNNING,
  runIn,
  script,
  sh,
  start,
} from "../support/suites/containers.ts";
import {
  endDaemon,
  launchDaemon,
  listIds,
  NOTREADY,
  openDirectories,
  pod,
  READY,
  removePod,
  statusOf,
  stopPod,
} from "../support/suites/pods.ts";

const ofFixture = { image: { image: fixtureImage, userSpecifiedImage: fixtureImage } };

function onlyInfoBelow(daemon: TestDaemon): void {
  const errors = daemon.lines.filter(({ fields }) => fields["level"] === "error");
  assert.deepEqual(
    errors.map(({ text }) => text),
    [],
  );
}

/** Pods, containers and images of the fixture are there, and its image runs. */
async function checkAfterReboot(format: Format, daemon: TestDaemon): Promise<void> {
  const { pods, containers } = format;
  assert.deepEqual(new Set(await listIds(daemon)), new Set(Object.values(pods)));
  for (const id of Object.values(pods)) {
    assert.equal((await statusOf(daemon, id)).state, NOTREADY);
  }
  const ended = await containerStatus(daemon, containers.exited);
  assert.deepEqual([ended.state, ended.exitCode], [EXITED, 3]);
  // Nobody has seen its exit code.
  const lost = await containerStatus(daemon, containers.running);
  assert.deepEqual([lost.state, lost.exitCode], [EXITED, 255]);
  const [image] = await listImages(daemon);
  assert.deepEqual(image?.repoTags, [fixtureImage]);

  await inPod(daemon, pod(), async (at) => {
    const id = await runIn(at, script("exec sleep 100000", ofFixture));
    assert.equal(await sh(daemon, id, checkLayers), "upper");
  });
  for (const id of Object.values(pods)) await removePod(daemon, id);
  assert.deepEqual(await listIds(daemon), []);
  await removeAllImages(daemon);
  assert.deepEqual(layersThere(daemon), []);
}

for (const version of formats) {
  const format = readFormat(version);

  test(`${version}: records, layers and images after a reboot`, async () => {
    const daemon = TestDaemon.prepare({});
    try {
      openDirectories(daemon);
      await extractRoot(format, daemon);
      await launchDaemon(daemon);
      await checkAfterReboot(format, daemon);
      onlyInfoBelow(daemon);
    } finally {
      await endDaemon(daemon);
    }
  });

  test(`${version}: pods and containers that run keep running, and can be used and removed`, async () => {
    await using node = await Node.start();
    const { daemon } = node;
    openDirectories(daemon);
    await node.registry.push(fixtureRepository, makeFixtureImage(), ["1"]);
    await pull(daemon, fixtureImage);
    const at = await openPod(daemon, pod());
    const running = await runIn(at, script("exec sleep 100000", ofFixture));
    const created = await createIn(at, script("exit 4", ofFixture));
    const stopped = await openPod(daemon, pod());
    await stopPod(daemon, stopped.id);
    const { startedAt } = await containerStatus(daemon, running);
    await daemon.stop();
    await writeAsBefore(format, daemon);

    await launchDaemon(daemon);
    assert.equal((await statusOf(daemon, at.id)).state, READY);
    assert.equal((await statusOf(daemon, stopped.id)).state, NOTREADY);
    const status = await containerStatus(daemon, running);
    assert.deepEqual([status.state, status.startedAt], [RUNNING, startedAt]);
    assert.equal(await sh(daemon, running, checkLayers), "upper");
    await start(daemon, created);
    assert.equal((await exited(daemon, created)).exitCode, 4);
    onlyInfoBelow(daemon);
    for (const each of [at, stopped]) await closePod(each);
    await removeAllImages(daemon);
  });
}

test("the version of package.json has a fixture", () => {
  const file = path.join(import.meta.dirname, "../../package.json");
  const { version } = JSON.parse(readFileSync(file, "utf8")) as { version: string };
  assert.ok(
    formats.includes(version),
    `run: node test/support/freeze-format.ts (version ${version})`,
  );
});
