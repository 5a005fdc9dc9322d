import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";

import { type Clock, systemClock } from "../../../base/time.ts";
import { openProcess } from "../../../linux/process/index.ts";
import { until } from "../../../linux/testing/leaks.ts";
import type { Credentials } from "../credentials.ts";
import { hostsOf } from "../registry-hosts.ts";
import { KeptLog } from "../testing/scripted-registry.ts";
import { NodeCredentials, type NodeCredentialSettings } from "./node-credentials.ts";

const { signal } = new AbortController();

let dir: string;
let bin: string;
let log: KeptLog;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "davit-programs-"));
  bin = join(dir, "bin");
  mkdirSync(bin);
  log = new KeptLog();
});
afterEach(() => rmSync(dir, { recursive: true }));

function program(name: string, script: string): void {
  writeFileSync(join(bin, name), `#!/bin/sh\n${script}\n`);
  chmodSync(join(bin, name), 0o755);
}

function file(name: string, value: unknown): string {
  writeFileSync(join(dir, name), typeof value === "string" ? value : JSON.stringify(value));
  return join(dir, name);
}

function open(
  settings: Partial<NodeCredentialSettings>,
  clock: Clock = systemClock,
): NodeCredentials {
  const env = { PATH: `${bin}:/usr/bin:/bin`, HOME: "/home/node", TOKEN_OF_DAVIT: "s3cret" };
  const none = { dockerConfig: "", providersConfig: "", providersBinDir: bin };
  return new NodeCredentials({
    settings: { ...none, env, ...settings },
    clock,
    log,
  });
}

async function find(node: NodeCredentials, registry: string, repository = "team/app") {
  const [host] = await hostsOf(registry, join(dir, "certs.d"));
  assert.ok(host !== undefined);
  return node.find({ host, repository }, signal);
}

const runs = (): readonly string[] => readFileSync(join(dir, "runs"), "utf8").trim().split("\n");

/** That there are none, why, and that nobody learns a secret. */
function hasNone(found: Credentials, why: RegExp): void {
  assert.equal(found.kind, "none");
  assert.match(found.source, why);
  assert.doesNotMatch(found.source, /s3cret/);
  assert.doesNotMatch(JSON.stringify(log.lines), /s3cret/);
}

describe("a program of Docker", () => {
  const helper = (script: string): NodeCredentials => {
    program("docker-credential-test", script);
    const dockerConfig = file("config.json", { credHelpers: { "x.test": "test" } });
    return open({ dockerConfig, helperMs: 60_000 });
  };

  test("gets the server, and nothing of davit's environment; those who ask share a run", async () => {
    const node = helper(
      `echo "$1 $(cat) $HOME $TOKEN_OF_DAVIT" >> ${dir}/runs\n` +
        `echo '{"ServerURL": "x.test", "Username": "user", "Secret": "pass-word"}'`,
    );
    const found = await Promise.all([find(node, "x.test"), find(node, "x.test", "other")]);
    for (const { kind, username, secret, source } of [...found, await find(node, "x.test")]) {
      assert.deepEqual([kind, username, secret], ["password", "user", "pass-word"]);
      assert.equal(source, 'password of "docker-credential-test" for "x.test"');
    }
    assert.deepEqual(runs(), ["get x.test /home/node"]);
    assert.equal((await find(node, "y.test")).source, "none");
  });

  test("answers with an identity token as <token>", async () => {
    const node = helper(`echo '{"Username": "<token>", "Secret": "i-i"}'`);
    const { kind, secret } = await find(node, "x.test");
    assert.deepEqual([kind, secret], ["identity-token", "i-i"]);
  });

  test("of credsStore is asked for all registries without an entry", async () => {
    program(
      "docker-credential-all",
      `read -r s; echo "{\\"Username\\": \\"$s\\", \\"Secret\\": \\"p-p\\"}"`,
    );
    const auth = Buffer.from("file:p-p").toString("base64");
    const auths = { "x.test": { auth }, "y.test": {} };
    const node = open({ dockerConfig: file("config.json", { credsStore: "all", auths }) });
    assert.equal((await find(node, "x.test")).username, "file");
    assert.equal((await find(node, "y.test")).username, "y.test");
    assert.equal((await find(node, "docker.io")).username, "https://index.docker.io/v1/");
  });

  test("that has none has not failed", async () => {
    const node = helper("echo credentials not found in native keychain; exit 1");
    assert.equal((await find(node, "x.test")).source, "none");
    assert.deepEqual(log.lines, []);
  });

  test("that fails is named, and its own words are in the log alone", async () => {
    const node = helper("echo oops >&2; printf 'a \\033[1mb' >&2; exit 3");
    hasNone(
      await find(node, "x.test"),
      /none: run "docker-credential-test": it ended with exit code 3$/,
    );
    assert.equal(log.lines[0]?.fields["printed"], "oops a [1mb");
    hasNone(await find(node, "x.test"), /exit code 3/);
    assert.equal(log.lines.length, 1, "the failure is remembered");
    hasNone(await find(helper(`echo '{"Secret": "s3cret"}'; exit 1`), "x.test"), /exit code 1/);
  });

  test("that is missing, or prints garbage or too much, is named", async () => {
    const node = open({ dockerConfig: file("config.json", { credsStore: "none" }) });
    hasNone(await find(node, "x.test"), /start "docker-credential-none": no such program on PATH/);
    hasNone(await find(helper("echo s3cret"), "x.test"), /printed something that is not JSON/);
    hasNone(await find(helper(`echo '["s3cret"]'`), "x.test"), /printed no Username and Secret/);
    const much = helper("head -c 3000000 /dev/zero");
    hasNone(await find(much, "x.test"), /printed more than 1048576 bytes/);
  });

  test("that hangs is killed with its children", async () => {
    program("docker-credential-test", `sleep 600 & echo $$ $! > ${dir}/pids; wait`);
    const dockerConfig = file("config.json", { credsStore: "test" });
    const node = open({ dockerConfig, helperMs: 5000 });
    hasNone(await find(node, "x.test"), /did not end within 5 s and was killed/);
    assert.ok(existsSync(join(dir, "pids")));
    for (const pid of readFileSync(join(dir, "pids"), "utf8").trim().split(" ")) {
      await until(`process ${pid} is gone`, () => {
        using left = openProcess(Number(pid));
        return left === undefined;
      });
    }
  });

  test("is asked again after a refusal of its answer, unless that is new", async () => {
    program(
      "docker-credential-test",
      `echo x >> ${dir}/runs; echo "{\\"Username\\": \\"$(wc -l < ${dir}/runs)\\", \\"Secret\\": \\"p-p\\"}"`,
    );
    let now = 1_000_000;
    const clock = { nowMs: () => now, nowNs: () => BigInt(now) * 1_000_000n };
    const dockerConfig = file("config.json", { credsStore: "test" });
    const node = open({ dockerConfig, helperMs: 60_000 }, clock);
    const first = await find(node, "x.test");
    await node.refused(first);
    assert.equal((await find(node, "x.test")).key, first.key);
    now += 31_000;
    assert.equal((await find(node, "x.test")).key, first.key);
    await node.refused(first);
    assert.notEqual((await find(node, "x.test")).key, first.key);
    assert.equal(runs().length, 2);
  });

  test("of hosts.toml comes before all others", async () => {
    program("docker-credential-own", `echo '{"Username": "own", "Secret": "p-p"}'`);
    const node = helper(`echo '{"Username": "user", "Secret": "p-p"}'`);
    mkdirSync(join(dir, "certs.d", "x.test"), { recursive: true });
    file("certs.d/x.test/hosts.toml", 'credential_helper = "own"\n');
    assert.equal((await find(node, "x.test")).username, "own");
  });
});

describe("a credential provider", () => {
  const version = "credentialprovider.kubelet.k8s.io/v1";
  const answer = (change: object): string =>
    JSON.stringify({
      kind: "CredentialProviderResponse",
      apiVersion: version,
      cacheKeyType: "Registry",
      ...change,
    });
  const provider = (script: string, more: object = {}): NodeCredentials => {
    program("provider", `echo "$* $MORE $(cat)" >> ${dir}/runs\n${script}`);
    const one = {
      name: "provider",
      apiVersion: version,
      matchImages: ["*.test"],
      defaultCacheDuration: "1h",
      args: ["get"],
      env: [{ name: "MORE", value: "given" }],
      ...more,
    };
    const kind = "CredentialProviderConfig";
    const config = { apiVersion: "kubelet.config.k8s.io/v1", kind, providers: [one] };
    return open({ providersConfig: file("providers.yaml", config), providerMs: 60_000 });
  };
  const user = (username: string): object => ({ username, password: "pass-word" });

  test("gets the image, and is asked once for what its answer holds for", async () => {
    const auth = { "*.test": user("all"), "x.test/team": user("team"), "z.test": user("z") };
    const node = provider(`echo '${answer({ auth })}'`);
    assert.equal((await find(node, "x.test", "team/app")).username, "team");
    assert.equal((await find(node, "x.test", "app")).username, "all");
    assert.equal((await find(node, "registry.example")).source, "none");
    const asked = {
      kind: "CredentialProviderRequest",
      apiVersion: version,
      image: "x.test/team/app",
    };
    assert.deepEqual(runs(), [`get given ${JSON.stringify(asked)}`]);
    const found = await find(node, "y.test", "app");
    assert.equal(found.source, `password of "${bin}/provider"`);
    assert.equal(runs().length, 2);
  });

  test("may have an answer for one image, for all, or none", async () => {
    const auth = { "*.test": user("all") };
    const global = provider(`echo '${answer({ auth, cacheKeyType: "Global" })}'`);
    await find(global, "x.test");
    assert.equal((await find(global, "y.test")).username, "all");
    assert.equal(runs().length, 1);
    const image = provider(
      `echo '${answer({ auth, cacheKeyType: "Image", cacheDuration: "2h" })}'`,
    );
    await find(image, "x.test", "a");
    await find(image, "x.test", "b");
    await find(image, "x.test", "a");
    assert.equal(runs().length, 3);
    assert.equal((await find(provider(`echo '${answer({})}'`), "x.test")).source, "none");
  });

  test("with an answer of another form is named", async () => {
    for (const [text, why] of [
      [answer({ kind: "s3cret" }), /its answer is not a CredentialProviderResponse of/],
      [answer({ apiVersion: "v1" }), /its answer is not a CredentialProviderResponse of/],
      [answer({ cacheKeyType: "All" }), /has no cacheKeyType/],
      [answer({ cacheDuration: 5 }), /has no valid cacheDuration/],
      [answer({ auth: { "x.test": "s3cret" } }), /has no valid auth/],
      ["s3cret", /printed something that is not JSON/],
    ] as const) {
      hasNone(await find(provider(`echo '${text}'`), "x.test"), why);
    }
  });

  test("that needs a token of a service account is not asked, and named", async () => {
    const node = provider("exit 1", { tokenAttributes: {} });
    hasNone(await find(node, "x.test"), /provider "provider" needs a service account token/);
    assert.ok(!existsSync(join(dir, "runs")));
  });

  test("is asked by the file as it is now", async () => {
    const node = provider(`echo '${answer({ auth: { "x.test": user("all") } })}'`);
    file("providers.yaml", "kind: [");
    hasNone(await find(node, "x.test"), /line 1 is not valid YAML/);
    provider(`echo '${answer({ auth: { "x.test": user("new") } })}'`);
    assert.equal((await find(node, "x.test")).username, "new");
  });
});
