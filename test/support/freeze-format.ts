/**
 * Keeps what this davit leaves on the disk as a fixture in test/fixtures/formats, on which later versions are tested
 * (test/integration/upgrade-formats.test.ts). Once for each release, as root, after the build:
 *
 *     node test/support/freeze-format.ts
 */
import { execFileSync, spawnSync } from "node:child_process";
import {
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import process from "node:process";
import {
  fixtureImage,
  fixtureRepository,
  type Format,
  formatsDirectory,
  makeFixtureImage,
} from "./formats.ts";
import {
  closePod,
  createIn,
  exited,
  Node,
  openPod,
  pull,
  runIn,
  script,
} from "./suites/containers.ts";
import { openDirectories, pod, stopPod } from "./suites/pods.ts";

const isolated = "DAVIT_FREEZE_ISOLATED";

const repo = path.resolve(import.meta.dirname, "../..");
const { version } = JSON.parse(readFileSync(path.join(repo, "package.json"), "utf8")) as {
  version: string;
};

if (process.env[isolated] === undefined) {
  // Its bridge, its rules and its mounts are not those of this machine.
  const command = ["ip link set lo up", "mount -t tmpfs cni /var/lib/cni", 'exec "$0" "$1"'];
  const temporary = mkdtempSync("/tmp/davit-freeze-");
  const args = ["--mount", "--net", "--propagation", "private", "sh", "-euc", command.join("\n")];
  mkdirSync("/var/lib/cni", { recursive: true });
  const { status } = spawnSync("unshare", [...args, process.execPath, import.meta.filename], {
    stdio: "inherit",
    env: { ...process.env, [isolated]: "1", TMPDIR: temporary },
  });
  rmSync(temporary, { recursive: true, force: true });
  process.exit(status ?? 1);
}

await using node = await Node.start();
const { daemon } = node;
openDirectories(daemon);
await node.registry.push(fixtureRepository, makeFixtureImage(), ["1"]);
await pull(daemon, fixtureImage);
const image = { image: { image: fixtureImage, userSpecifiedImage: fixtureImage } };
const ready = await openPod(daemon, pod());
const running = await runIn(ready, script("exec sleep 100000", image));
const ended = await runIn(ready, script("exit 3", image));
await exited(daemon, ended);
const created = await createIn(ready, script("exec sleep 100000", image));
const stopped = await openPod(daemon, pod());
await stopPod(daemon, stopped.id);
await daemon.stop();

const { root, state, directory } = daemon.paths;
const target = path.join(formatsDirectory, version);
rmSync(target, { recursive: true, force: true });
mkdirSync(target, { recursive: true });
const [program = ""] = globSync("layers/*/fs/bin/busybox", { cwd: root });
const bundle = path.join(state, "containers", running);
const format: Format = {
  ...{ version, directory, program },
  pods: { ready: ready.id, stopped: stopped.id },
  containers: { running, exited: ended, created },
  bundle: readdirSync(bundle).toSorted(),
  facts: JSON.parse(readFileSync(path.join(bundle, "facts.json"), "utf8")) as Format["facts"],
};
writeFileSync(path.join(target, "format.json"), `${JSON.stringify(format, undefined, 2)}\n`);
const options = ["--one-file-system", "--sort=name", "--xattrs", "--xattrs-include=*"];
const left = [`./${program}`, "./davit.lock", "./davit.db-shm", "./history"];
execFileSync("tar", [
  ...["-C", root, ...options, ...left.map((name) => `--exclude=${name}`)],
  ...["-I", "gzip -9n", "-cf", path.join(target, "root.tar.gz"), "."],
]);

await daemon.restart();
for (const each of [ready, stopped]) await closePod(each);
process.stdout.write(`wrote ${path.relative(repo, target)}\n`);
