/** The node's own credentials and short names: what pulls use, what `--explain` says, and that no secret is shown. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { TestCollector } from "../support/collector.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { busyboxLayer, imageOf, layerOf } from "../support/images.ts";
import { freePort, TestRegistry } from "../support/registry.ts";
import { Davit } from "../support/suites/cli.ts";
import { endDaemon, startDaemon, until } from "../support/suites/pods.ts";

const secret = "swordfish-0xC4ED";
const base64 = Buffer.from(`node:${secret}`).toString("base64");
const layers = [busyboxLayer(), layerOf([{ path: "x", body: "private" }])];
const image = imageOf(layers, { Cmd: ["true"] });

let registry: TestRegistry;
let files: string;
before(async () => {
  registry = await TestRegistry.start();
  files = mkdtempSync(path.join(tmpdir(), "davit-credentials-"));
  await registry.push("e2e/private", image, ["1"]);
  await registry.push("e2e/other", image, ["1"]);
  registry.guard("e2e/private", { username: "node", password: secret });
  registry.guard("e2e/other", { username: "other", password: "unknown" });
});
after(async () => {
  rmSync(files, { recursive: true });
  await registry[Symbol.asyncDispose]();
});

describe("a daemon with a credential helper", () => {
  let daemon: TestDaemon;
  let davit: Davit;
  let collector: TestCollector;
  let metrics: string;

  before(async () => {
    const bin = path.join(files, "bin");
    mkdirSync(bin);
    const answer = JSON.stringify({ Username: "node", Secret: secret });
    const helper = path.join(bin, "docker-credential-e2e");
    writeFileSync(helper, `#!/bin/sh\necho "for $(cat)" >&2\necho '${answer}'\n`);
    chmodSync(helper, 0o755);
    const config = path.join(files, "config.json");
    writeFileSync(config, JSON.stringify({ credHelpers: { [registry.address]: "e2e" } }));
    collector = await TestCollector.start();
    metrics = `127.0.0.1:${await freePort()}`;
    daemon = await startDaemon({
      env: { PATH: `${bin}:${process.env["PATH"] ?? ""}` },
      config: {
        images: { registry_config_path: registry.certsDir, docker_config: config },
        metrics: { listen: metrics },
        tracing: { endpoint: collector.endpoint, sampling_ratio: 1 },
      },
    });
    davit = new Davit(daemon);
  });
  after(async () => {
    await endDaemon(daemon);
    await collector[Symbol.asyncDispose]();
  });

  const name = "registry.k8s.io/e2e/private:1";

  test("explains a pull before and after it, without fetching a layer", async () => {
    const before = await davit.done("pull", "--explain", name);
    assert.match(before, new RegExp(`^image +${name}$`, "m"));
    assert.match(before, new RegExp(`^image id +${image.config.digest}$`, "m"));
    assert.match(
      before,
      /mirror, insecure .*password of "docker-credential-e2e" for "127.*for user/,
    );
    assert.equal(before.match(/fetch: not on this node/g)?.length, layers.length);
    assert.match(before, /^To fetch: 2 layers, /m);
    assert.equal(registry.count(new RegExp(`GET .*/blobs/${layers[0]?.digest ?? ""}`)), 0);
    assert.doesNotMatch(await davit.done("images"), /private/);

    await davit.done("pull", name);
    const explained = JSON.parse(await davit.done("pull", "--explain", "-o", "json", name)) as {
      readonly present: boolean;
      readonly fetchBytes: string;
      readonly layers: readonly { readonly decision: string }[];
    };
    assert.equal(explained.present, true);
    assert.equal(explained.fetchBytes, "0");
    assert.deepEqual(
      explained.layers.map(({ decision }) => decision),
      layers.map(() => "DECISION_GRANTED"),
    );
  });

  test("names refused credentials in the error of a pull and of an explanation", async () => {
    const refused = "registry.k8s.io/e2e/other:1";
    const pulled = await davit.run("pull", refused);
    assert.equal(pulled.code, 1);
    assert.match(
      pulled.err,
      /answered 401.*\(credentials: password of "docker-credential-e2e" for "127.*" for user "node"\)/,
    );
    const explained = await davit.run("pull", "--explain", refused);
    assert.equal(explained.code, 1);
    assert.match(explained.out, /^A pull would fail: .*answered 401.*docker-credential-e2e/m);
    assert.doesNotMatch(`${pulled.err}${explained.out}`, new RegExp(`${secret}|${base64}`));
  });

  test("shows its secret nowhere: log, traces, metrics, history, status, database", async () => {
    await until("the spans of the pulls arrive", () =>
      collector.spans.some(({ name: span }) => span.endsWith("PullImage")),
    );
    const shown = [
      ...daemon.lines.map(({ text }) => text),
      JSON.stringify(collector.spans, (_, value: unknown) =>
        typeof value === "bigint" ? String(value) : value,
      ),
      await (await fetch(`http://${metrics}/metrics`)).text(),
      await davit.done("info", "-o", "json"),
      await davit.done("inspect", "--type", "image", name),
    ].join("\n");
    assert.match(shown, /"message":"resolved image"/);
    assert.match(shown, /docker-credential-e2e/);
    assert.doesNotMatch(shown, new RegExp(`${secret}|${base64}`));
    const { root, state } = daemon.paths;
    const found = execFileSync(
      "sh",
      [
        "-c",
        `grep -rlaF -e "${secret}" -e "${base64}" "$0/davit.db"* "$0/history" "$1" || :`,
        root,
        state,
      ],
      { encoding: "utf8" },
    );
    assert.equal(found, "");
  });
});

test("a daemon with a registries.conf pulls short names by their alias, and finds them", async () => {
  await registry.push("e2e/app", image, ["1"]);
  const conf = path.join(files, "registries.conf");
  const text = `[aliases]\napp = "x.test/app"\n[[registry]]\nprefix = "x.test"\nlocation = "${registry.address}/e2e"\n[[registry]]\nprefix = "bad.test"\nblocked = true\n`;
  writeFileSync(conf, text);
  const none = path.join(files, "none");
  const images = { registry_config_path: none, registries_conf: conf };
  const daemon = await startDaemon({ config: { images } });
  try {
    const { client } = daemon;
    const { imageRef } = await client.image.pullImage({ image: { image: "app:1" } });
    const statusOf = async (name: string) =>
      (await client.image.imageStatus({ image: { image: name } })).image;
    assert.deepEqual((await statusOf("app:1"))?.repoTags, ["x.test/app:1"]);
    assert.equal((await statusOf("x.test/app:1"))?.id, imageRef);
    assert.equal(await statusOf("docker.io/library/app:1"), undefined);
    const { code, out } = await new Davit(daemon).run("pull", "--explain", "bad.test/app");
    assert.equal(code, 1);
    assert.match(out, /A pull would fail: pull "bad.test\/app:latest": "bad.test" is blocked in "/);

    // kubelet asks for the status of an image that is here before each start, and fails it on an error.
    const pull = client.image.pullImage.bind(client.image, { image: { image: "app:1" } });
    writeFileSync(conf, 'unqualified-search-registries = ["a.test", "x.test"]\n');
    await assert.rejects(pull(), /several unqualified-search-registries \(a.test, x.test\)/);
    assert.equal((await statusOf("app:1"))?.id, imageRef);
    writeFileSync(conf, `${text}unknown = true\n`);
    await assert.rejects(pull(), /read ".*registries.conf": .*unknown/);
    assert.equal(await statusOf("app:1"), undefined);
    await client.image.removeImage({ image: { image: "x.test/app:1" } });
    assert.equal(await statusOf("x.test/app:1"), undefined);
  } finally {
    await endDaemon(daemon);
  }
});
