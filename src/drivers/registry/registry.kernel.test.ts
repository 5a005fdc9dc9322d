// Against docker-registry of the distribution project, filled by skopeo.
import assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { gzipSync } from "node:zlib";

import { hexOf } from "../../base/digest.ts";
import { isKind } from "../../base/errors.ts";
import { silentLogger } from "../../base/logger.ts";
import { bytesOf } from "../../base/unread-bytes.ts";
import { type ImageFetcher, parseReference } from "../../core/image/index.ts";
import { Registry } from "./registry.ts";
import { digestOf, ociManifest, someAuth } from "./testing/scripted-registry.ts";

const anySignal = new AbortController().signal;
// The bcrypt of "pw", as htpasswd -nbB writes it.
const htpasswd = "u:$2y$05$abcdefghijklmnopqrstuuHIrMEWpUCQe2YqFR3sXwQ75u4od..9q\n";

let dir: string;
let layout: Layout;

interface Layout {
  readonly manifest: Buffer;
  readonly config: Buffer;
  readonly layer: Buffer;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  assert.ok(typeof address === "object" && address !== null);
  return address.port;
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = request({ host: "127.0.0.1", port, path: "/v2/", agent: false });
    probe.on("response", (message) => {
      message.resume();
      resolve(true);
    });
    probe.on("error", () => resolve(false));
    probe.end();
  });
}

/** A docker-registry of its own, with a password if a file is given. */
class RealRegistry implements AsyncDisposable {
  readonly host: string;
  readonly #child: ChildProcess;

  static async open(name: string, passwords: string | undefined): Promise<RealRegistry> {
    const port = await freePort();
    const base = join(dir, name);
    mkdirSync(base);
    const auth =
      passwords === undefined
        ? ""
        : `auth:\n  htpasswd:\n    realm: test\n    path: ${passwords}\n`;
    const storage = `storage:\n  filesystem:\n    rootdirectory: ${base}\n`;
    const config = `version: 0.1\nlog:\n  level: error\n${storage}http:\n  addr: 127.0.0.1:${port}\n${auth}`;
    writeFileSync(join(base, "config.yml"), config);
    const child = spawn("docker-registry", ["serve", join(base, "config.yml")], {
      stdio: "ignore",
    });
    const registry = new RealRegistry(`127.0.0.1:${port}`, child);
    const deadline = Date.now() + 20_000;
    while (!(await answers(port))) {
      assert.equal(child.exitCode, null, "docker-registry ended");
      if (Date.now() > deadline) throw new Error("docker-registry did not answer for 20 s");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    return registry;
  }

  private constructor(host: string, child: ChildProcess) {
    this.host = host;
    this.#child = child;
  }

  push(source: string, name: string, ...options: readonly string[]): void {
    const to = `docker://${this.host}/${name}`;
    execFileSync(
      "skopeo",
      ["copy", "--insecure-policy", "--dest-tls-verify=false", ...options, source, to],
      { stdio: "pipe", env: { PATH: process.env["PATH"] ?? "/usr/bin", HOME: dir, TMPDIR: dir } },
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null) return;
    this.#child.kill("SIGKILL");
    await once(this.#child, "exit");
  }
}

/** An OCI layout with busybox in one layer, under `dir/layout`. */
function writeLayout(): Layout {
  const root = join(dir, "rootfs");
  mkdirSync(join(root, "bin"), { recursive: true });
  copyFileSync("/usr/bin/busybox", join(root, "bin", "busybox"));
  const tar = execFileSync("tar", ["-C", root, "-c", "."], { maxBuffer: 64 * 1024 * 1024 });
  const layer = gzipSync(tar);
  const diffId = `sha256:${createHash("sha256").update(tar).digest("hex")}`;
  const config = Buffer.from(
    JSON.stringify({
      architecture: "amd64",
      os: "linux",
      config: { Cmd: ["/bin/busybox"] },
      rootfs: { type: "layers", diff_ids: [diffId] },
    }),
  );
  const descriptor = (mediaType: string, bytes: Buffer): object => ({
    mediaType,
    digest: digestOf(bytes),
    size: bytes.length,
  });
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: ociManifest,
      config: descriptor("application/vnd.oci.image.config.v1+json", config),
      layers: [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", layer)],
    }),
  );
  const blobs = join(dir, "layout", "blobs", "sha256");
  mkdirSync(blobs, { recursive: true });
  for (const bytes of [manifest, config, layer]) {
    writeFileSync(join(blobs, hexOf(digestOf(bytes))), bytes);
  }
  writeFileSync(join(dir, "layout", "oci-layout"), '{"imageLayoutVersion": "1.0.0"}');
  const entry = {
    ...descriptor(ociManifest, manifest),
    annotations: { "org.opencontainers.image.ref.name": "one" },
  };
  writeFileSync(
    join(dir, "layout", "index.json"),
    JSON.stringify({ schemaVersion: 2, manifests: [entry] }),
  );
  return { manifest, config, layer };
}

before(() => {
  dir = mkdtempSync(join(tmpdir(), "davit-real-registry-"));
  layout = writeLayout();
});
after(() => rmSync(dir, { recursive: true }));

function client(): Registry {
  const platform = { os: "linux", architecture: "amd64", variant: "" };
  return new Registry({ configDir: join(dir, "none"), log: silentLogger, platform });
}

async function pullLayer(fetcher: ImageFetcher): Promise<Buffer> {
  const [layer] = fetcher.image.layers;
  assert.ok(layer !== undefined);
  await using blob = await fetcher.blob(layer, anySignal);
  const chunks: Uint8Array[] = [];
  for await (const chunk of blob.chunks) chunks.push(await bytesOf(chunk));
  return Buffer.concat(chunks);
}

describe("Registry and docker-registry", () => {
  test("pull an image as it was pushed, by tag and by digest", async () => {
    await using server = await RealRegistry.open("plain", undefined);
    using registry = client();
    server.push(`oci:${join(dir, "layout")}:one`, "team/tiny:one", "--preserve-digests");
    const reference = parseReference(`${server.host}/team/tiny:one`);
    const fetcher = await registry.resolve(reference, undefined, anySignal);
    const resolved = fetcher.image;
    assert.equal(resolved.digest, digestOf(layout.manifest));
    assert.equal(resolved.manifest.sizeBytes, BigInt(layout.manifest.length));
    const config = await fetcher.config(anySignal);
    assert.deepEqual(Buffer.from(config), layout.config);
    assert.equal(digestOf(await pullLayer(fetcher)), digestOf(layout.layer));

    const byDigest = parseReference(`${server.host}/team/tiny@${digestOf(layout.manifest)}`);
    const same = await registry.resolve(byDigest, undefined, anySignal);
    assert.deepEqual(same.image, resolved);
    const missing = parseReference(`${server.host}/team/tiny:two`);
    await assert.rejects(registry.resolve(missing, undefined, anySignal), (error) =>
      isKind(error, "not-found"),
    );
  });

  test("pull an image in Docker's schema 2", async () => {
    await using server = await RealRegistry.open("docker", undefined);
    using registry = client();
    server.push(`oci:${join(dir, "layout")}:one`, "tiny:v2s2", "--format", "v2s2");
    const reference = parseReference(`${server.host}/tiny:v2s2`);
    const fetcher = await registry.resolve(reference, undefined, anySignal);
    const { manifest, layers } = fetcher.image;
    assert.equal(manifest.mediaType, "application/vnd.docker.distribution.manifest.v2+json");
    assert.equal(layers[0]?.mediaType, "application/vnd.docker.image.rootfs.diff.tar.gzip");
    assert.equal(digestOf(await pullLayer(fetcher)), digestOf(layout.layer));
  });

  test("log in with a password", async () => {
    const file = join(dir, "htpasswd");
    writeFileSync(file, htpasswd);
    await using server = await RealRegistry.open("private", file);
    using registry = client();
    server.push(`oci:${join(dir, "layout")}:one`, "tiny:one", "--dest-creds", "u:pw");
    const reference = parseReference(`${server.host}/tiny:one`);
    const right = someAuth({ username: "u", password: "pw" });
    const fetcher = await registry.resolve(reference, right, anySignal);
    const bytes = await fetcher.config(anySignal);
    assert.equal(digestOf(bytes), fetcher.image.config.digest);
    const wrong = someAuth({ username: "u", password: "wrong" });
    for (const auth of [undefined, wrong]) {
      await assert.rejects(registry.resolve(reference, auth, anySignal), (error) =>
        isKind(error, "unauthenticated"),
      );
    }
  });
});
