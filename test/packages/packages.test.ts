/** Each package is installed in a clean root, runs a pod of a loaded image, and is removed without a trace. */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, copyFileSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test, type TestContext } from "node:test";
import { ociLayout, tarOf } from "../support/archives.ts";
import { busyboxLayer, imageOf } from "../support/images.ts";
import { until } from "../support/suites/pods.ts";
import { CleanRoot, withoutRoot } from "./clean-root.ts";

const repo = path.resolve(import.meta.dirname, "../..");
const packages = process.env["DAVIT_TEST_PACKAGES"] ?? path.join(repo, "dist/packages");
const manifest = JSON.parse(readFileSync(path.join(repo, "package.json"), "utf8")) as {
  version: string;
};
const { version } = manifest;
const arch = process.arch === "arm64" ? "arm64" : "x64";
const skip = withoutRoot();

const pod = `
apiVersion: v1
kind: Pod
metadata: {name: hello}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: example.test/hello:1
      imagePullPolicy: IfNotPresent
      command: [/bin/sh, -c, "echo hello from a package; exec sleep 1000000"]
`;

/** How a package comes into the root, and leaves it. */
interface Package {
  readonly file: string;
  /** The directory with bin, dist and packaging. */
  readonly home: string;
  readonly install: (root: CleanRoot, file: string) => void;
  readonly remove: (root: CleanRoot) => void;
  /** Runs while a pod does; the daemon is started again afterwards. */
  readonly upgrade?: (root: CleanRoot, file: string) => void;
}

const debianArch = arch === "x64" ? "amd64" : arch;
const plain = `davit-${version}-linux-${arch}`;
const kinds: Readonly<Record<string, Package>> = {
  "the Debian package": {
    file: `davit_${version}_${debianArch}.deb`,
    home: "/usr/lib/davit",
    install: (root, file) => root.must(`dpkg --install ${file}`),
    upgrade: (root, file) => root.must(`dpkg --install ${file}`),
    remove: (root) => root.must("dpkg --purge davit"),
  },
  "the archive with Node.js": {
    file: `${plain}.tar.xz`,
    home: "/opt/davit",
    // The root has no xz: a node that installs this has it.
    install: (root, file) => {
      const archive = path.join(root.directory, file);
      execFileSync("tar", ["-xJf", archive, "-C", path.join(root.directory, "opt")]);
      root.must(`ln -s ${plain} /opt/davit && ln -s /opt/davit/bin/davit /usr/local/bin/davit`);
    },
    remove: (root) => root.must(`rm -r /opt/davit /opt/${plain} /usr/local/bin/davit`),
  },
  "the npm package of the daemon": {
    file: `davit-daemon-${version}.tgz`,
    home: "/usr/local/lib/node_modules/davit-daemon",
    // By the host's npm, without a registry. Node.js is what the node must have.
    install: (root, file) => {
      npm(root, "install", path.join(root.directory, file));
      const node = path.join(root.directory, "usr/local/bin/node");
      copyFileSync(process.execPath, node);
    },
    remove: (root) => {
      npm(root, "uninstall", "davit-daemon");
      root.must("rm /usr/local/bin/node && rmdir /usr/local/lib/node_modules");
    },
  },
};

function npm(root: CleanRoot, verb: string, what: string): void {
  const prefix = path.join(root.directory, "usr/local");
  const cache = path.join(root.directory, "tmp/npm");
  const args = [verb, "--global", "--offline", "--prefix", prefix, "--cache", cache, what];
  const env = { ...process.env, NODE_DISABLE_COMPILE_CACHE: "1" };
  execFileSync("npm", args, { env, stdio: ["ignore", "ignore", "pipe"] });
}

describe("in a clean root", { skip }, () => {
  for (const [name, kind] of Object.entries(kinds)) {
    test(`${name} installs, runs a pod and leaves nothing`, async (t) => {
      await using root = await CleanRoot.open();
      prepare(root);
      const untouched = root.files();
      const source = path.join(packages, kind.file);
      const file = `/tmp/${kind.file}`;
      copyFileSync(source, path.join(root.directory, file));
      const begin = performance.now();
      kind.install(root, file);
      const seconds = ((performance.now() - begin) / 1000).toFixed(1);
      const unpacked = root.must(`du -sm ${kind.home}/ | cut -f 1`).trim();
      const packed = (statSync(source).size / 1e6).toFixed(1);
      note(`${kind.file}: ${packed} MB, ${unpacked} MB on disk, installed in ${seconds} s`);

      examine(root, kind);
      await runPod(t, root, kind, file);

      kind.remove(root);
      removeState(root);
      assert.deepEqual(root.files(), untouched);
    });
  }
});

/** For docs/packages.md; scripts/test-packages.sh prints it. */
function note(line: string): void {
  const file = process.env["DAVIT_TEST_PACKAGES_TABLE"];
  if (file !== undefined) appendFileSync(file, `${line}\n`);
}

/** What the tests bring: an image in an archive, and a pod of it. */
function prepare(root: CleanRoot): void {
  const image = imageOf([busyboxLayer()]);
  const annotations = { "org.opencontainers.image.ref.name": "example.test/hello:1" };
  const layout = ociLayout([image], [{ blob: image.manifest, annotations }]);
  writeFileSync(path.join(root.directory, "tmp/hello.tar"), tarOf(layout));
  writeFileSync(path.join(root.directory, "tmp/hello.yaml"), pod);
}

/** The commands that need no daemon. */
function examine(root: CleanRoot, { home }: Package): void {
  assert.match(root.must("davit version 2>&1 || true"), new RegExp(version.replaceAll(".", "\\.")));
  root.must(`mkdir -p /etc/davit /etc/cni/net.d`);
  root.must(`cp ${home}/packaging/10-davit.conflist /etc/cni/net.d/`);
  root.must(`[ -f /etc/davit/davit.toml ] || cp ${home}/packaging/davit.toml /etc/davit/`);
  root.must("davit config check");
  // The machine may have other errors. The programs are those that the packages depend on.
  const { text } = root.run("davit doctor --output json");
  const { findings } = JSON.parse(text) as {
    findings: readonly { id: string; severity: string }[];
  };
  assert.ok(findings.length > 10, text);
  const errors = findings.filter(
    ({ id, severity }) => severity === "error" && id.startsWith("programs."),
  );
  assert.deepEqual(errors, []);
}

async function runPod(t: TestContext, root: CleanRoot, kind: Package, file: string): Promise<void> {
  let daemon = await serve(root);
  t.after(() => stop(daemon));
  root.must("davit load --input /tmp/hello.tar");
  root.must("davit run /tmp/hello.yaml");
  await until(
    "the container writes its log",
    () => root.run("davit logs hello").text === "hello from a package\n",
  );
  if (kind.upgrade !== undefined) {
    const container = root.must("davit ps --quiet");
    kind.upgrade(root, file);
    await stop(daemon);
    daemon = await serve(root);
    assert.equal(root.must("davit ps --quiet"), container);
    root.must("davit exec hello true");
  }
  root.must("davit rm --force hello");
  await stop(daemon);
}

async function serve(root: CleanRoot): Promise<ChildProcess> {
  const daemon = root.start("davit serve");
  let log = "";
  daemon.stderr?.on("data", (text: Buffer) => (log += text.toString()));
  try {
    await until("davit serve answers", () => root.run("davit pods").code === 0, 30_000);
  } catch (error) {
    throw new Error(`davit serve does not answer: ${log}`, { cause: error });
  }
  return daemon;
}

async function stop(daemon: ChildProcess): Promise<void> {
  daemon.kill("SIGTERM");
  if (daemon.exitCode === null && daemon.signalCode === null) await once(daemon, "exit");
}

/** What the daemon and its administrator made; a package's removal keeps it. */
function removeState(root: CleanRoot): void {
  // The bridge of the network, in the network namespace of this file.
  execFileSync("ip", ["link", "delete", "davit0"]);
  root.must("umount --recursive /var/lib/davit 2>/dev/null || true");
  root.must(
    "rm -rf /etc/davit /etc/cni /var/lib/davit /var/lib/davit-run /var/lib/cni /var/cache/davit /var/log/davit",
  );
}
