import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { afterEach, beforeEach, describe, test } from "node:test";

import { RuntimeError } from "../../base/errors.ts";
import { parseReference, type ImageFetcher, type RegistryAuth } from "../../core/image/index.ts";
import { Registry } from "./registry.ts";
import {
  KeptLog,
  ociManifest,
  type Seen,
  ScriptedRegistry,
  serve,
  someAuth,
  type TinyImage,
  tinyImage,
} from "./testing/scripted-registry.ts";

const anySignal = new AbortController().signal;

/** A registry whose tokens come from a second server, which takes note of everything. */
interface TokenRegistry {
  readonly registry: ScriptedRegistry;
  readonly tokens: ScriptedRegistry;
}

let stack: AsyncDisposableStack;
let log: KeptLog;
let image: TinyImage;
let nowMs: number;

beforeEach(() => {
  stack = new AsyncDisposableStack();
  log = new KeptLog();
  image = tinyImage("team/app");
  nowMs = 1_000_000;
});
afterEach(() => stack.disposeAsync());

function client(): Registry {
  const clock = { nowMs: () => nowMs, nowNs: () => 0n };
  const timing = { backoffMs: [] };
  return stack.use(new Registry({ configDir: "/nowhere", log, clock, timing }));
}

const resolve = (registry: Registry, host: string, auth?: RegistryAuth): Promise<ImageFetcher> =>
  registry.resolve(parseReference(`${host}/team/app`), auth, anySignal);

/** Serves the image to clients with a value that `isGood`; answers `challenge` to others. */
async function guarded(
  challenge: () => string | readonly string[],
  isGood: (authorization: string) => boolean,
): Promise<ScriptedRegistry> {
  const content = serve(image.content);
  return stack.use(
    await ScriptedRegistry.open((seen, response, request) => {
      if (isGood(seen.headers.authorization ?? "")) return content(seen, response, request);
      const value = challenge();
      response.writeHead(401, {
        "www-authenticate": typeof value === "string" ? value : [...value],
      });
      response.end(JSON.stringify({ errors: [{ code: "UNAUTHORIZED", message: "log in" }] }));
    }),
  );
}

async function tokenRegistry(
  answer: (seen: Seen, response: ServerResponse) => void,
  isGood: (token: string) => boolean = (token) => token === "good",
): Promise<TokenRegistry> {
  const tokens = stack.use(await ScriptedRegistry.open(answer));
  const registry = await guarded(
    () =>
      `Bearer realm="http://${tokens.host}/token",service="the \\"service\\"",scope="repository:team/app:pull"`,
    (value) => value.startsWith("Bearer ") && isGood(value.slice("Bearer ".length)),
  );
  return { registry, tokens };
}

const give = (token: object) => (_: Seen, response: ServerResponse) =>
  void response.end(JSON.stringify(token));

async function fails(promise: Promise<unknown>, kind: string, ...texts: RegExp[]): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof RuntimeError, String(error));
    assert.equal(error.kind, kind, error.message);
    for (const text of texts) assert.match(error.message, text);
    for (const secret of [/s3cret/, /dTpz/]) {
      assert.doesNotMatch(error.message, secret);
      assert.doesNotMatch(JSON.stringify(log.lines), secret);
    }
    return true;
  });
}

const basic = `Basic ${Buffer.from("u:s3cret").toString("base64")}`;

describe("Registry with Basic authentication", () => {
  const password = someAuth({ username: "u", password: "s3cret" });

  test("sends the password when it is asked for, and from then on at once", async () => {
    const host = await guarded(
      () => 'Basic realm="r"',
      (value) => value === basic,
    );
    const registry = client();
    await resolve(registry, host.host, password);
    await resolve(registry, host.host, password);
    const sent = host.seen.map(({ headers }) => headers.authorization);
    assert.deepEqual(sent, [undefined, basic, basic]);
    assert.deepEqual(
      log.requests.map(({ fields }) => fields["credentials"]),
      Array(2).fill("password of the request"),
    );
    assert.doesNotMatch(JSON.stringify(log.lines), /s3cret|dTpz/);
  });

  test("takes user and password from auth", async () => {
    const host = await guarded(
      () => "Basic",
      (value) => value === basic,
    );
    await resolve(
      client(),
      host.host,
      someAuth({ auth: Buffer.from("u:s3cret").toString("base64") }),
    );
    await resolve(
      client(),
      host.host,
      someAuth({ auth: Buffer.from("u:s3cret\0\0").toString("base64") }),
    );
    await fails(
      resolve(client(), host.host, someAuth({ auth: "s3cret" })),
      "invalid-argument",
      /not base64 of USERNAME/,
    );
  });

  test("sends nothing of what is for another server", async () => {
    const host = await guarded(
      () => "Basic",
      (value) => value === basic,
    );
    const other = { ...password, serverAddress: "https://other.test/v2/" };
    await fails(
      resolve(client(), host.host, other),
      "unauthenticated",
      /none \(the request's are for "other\.test" only\)/,
    );
    assert.ok(host.seen.every(({ headers }) => headers.authorization === undefined));
    await resolve(client(), host.host, {
      ...password,
      serverAddress: `http://${host.host.toUpperCase()}/v1/`,
    });
  });

  test("names the credentials that were refused, and hides those that a server repeats", async () => {
    const host = stack.use(
      await ScriptedRegistry.open(({ headers }, response) => {
        response.writeHead(401, { "www-authenticate": "Basic" });
        response.end(`bad ${headers.authorization ?? ""} (that is s3cret)`);
      }),
    );
    await fails(
      resolve(client(), host.host, password),
      "unauthenticated",
      /password of the request for user "u"/,
      /check the user name/,
    );
    assert.equal(host.seen.length, 2);
  });

  test("does not answer a challenge that it does not know", async () => {
    const host = await guarded(
      () => "Negotiate",
      () => false,
    );
    await fails(resolve(client(), host.host, password), "unauthenticated", /log in/);
    assert.equal(host.seen.length, 1);
  });
});

describe("Registry with tokens", () => {
  test("gets one without credentials, for reading this repository, and keeps it", async () => {
    const { registry: host, tokens } = await tokenRegistry(
      give({ token: "good", expires_in: 300 }),
    );
    const registry = client();
    const fetcher = await resolve(registry, host.host);
    await fetcher.config(anySignal);
    assert.equal(host.seen.length, 3);
    const url = new URL(tokens.seen[0]?.url ?? "", "http://x");
    assert.equal(url.searchParams.get("service"), 'the "service"');
    assert.deepEqual(url.searchParams.getAll("scope"), ["repository:team/app:pull"]);
    assert.equal(tokens.seen[0]?.headers.authorization, undefined);
    assert.equal(tokens.seen.length, 1);

    nowMs += 289_000;
    await resolve(registry, host.host);
    assert.equal(tokens.seen.length, 1);
    nowMs += 2000;
    await resolve(registry, host.host);
    assert.equal(tokens.seen.length, 2);
  });

  test("gets one for all requests that need it at the same time", async () => {
    const { registry: host, tokens } = await tokenRegistry(
      give({ access_token: "good", expires_in: 300 }),
    );
    const registry = client();
    await Promise.all(Array.from({ length: 8 }, () => resolve(registry, host.host)));
    assert.equal(tokens.seen.length, 1);
  });

  test("keeps those of different credentials apart", async () => {
    const { registry: host, tokens } = await tokenRegistry(({ headers }, response) => {
      response.end(JSON.stringify({ token: headers.authorization === basic ? "good" : "bad" }));
    });
    const registry = client();
    await fails(resolve(registry, host.host), "unauthenticated", /imagePullSecret/);
    await resolve(registry, host.host, someAuth({ username: "u", password: "s3cret" }));
    await fails(resolve(registry, host.host), "unauthenticated");
    assert.ok(tokens.seen.some(({ headers }) => headers.authorization === basic));
  });

  test("asks again when a token that it kept is refused", async () => {
    let current = "one";
    const { registry: host, tokens } = await tokenRegistry(
      (_, response) => void response.end(JSON.stringify({ token: current, expires_in: 3600 })),
      (token) => token === current,
    );
    const registry = client();
    await resolve(registry, host.host);
    current = "two";
    await resolve(registry, host.host);
    assert.equal(tokens.seen.length, 2);
  });

  test("exchanges an identity token by POST", async () => {
    const { registry: host, tokens } = await tokenRegistry(give({ access_token: "good" }));
    await resolve(client(), host.host, someAuth({ identityToken: "s3cret" }));
    assert.equal(tokens.seen[0]?.method, "POST");
    assert.deepEqual(Object.fromEntries(new URLSearchParams(tokens.seen[0].body)), {
      service: 'the "service"',
      grant_type: "refresh_token",
      client_id: "davit",
      scope: "repository:team/app:pull",
      refresh_token: "s3cret",
    });
  });

  test("sends a registry token unchanged", async () => {
    const { registry: host, tokens } = await tokenRegistry(give({}));
    await resolve(client(), host.host, someAuth({ registryToken: "good" }));
    await fails(
      resolve(client(), host.host, someAuth({ registryToken: "s3cret" })),
      "unauthenticated",
      /registry token of the request/,
    );
    assert.equal(tokens.seen.length, 0);
  });

  test("reports what the token service refused or sent wrong", async () => {
    const auth = someAuth({ username: "u", password: "s3cret" });
    const cases: readonly (readonly [number, string, string, RegExp])[] = [
      [
        401,
        '{"details": "incorrect username or password"}',
        "unauthenticated",
        /token service "127.*incorrect username/,
      ],
      [400, '{"error": "invalid_grant"}', "unauthenticated", /invalid_grant/],
      [403, "", "permission-denied", /403/],
      [503, "", "unavailable", /^RegistryUnavailable/],
      [200, "hello", "unavailable", /not JSON/],
      [200, "{}", "unauthenticated", /without a token/],
      [200, '{"token": "a\\r\\nb"}', "unauthenticated", /without a token/],
    ];
    for (const [status, body, kind, text] of cases) {
      const { registry: host } = await tokenRegistry(
        (_, response) => void response.writeHead(status).end(body),
      );
      await fails(resolve(client(), host.host, auth), kind, text);
    }
  });

  test("refuses a challenge without a token service", async () => {
    for (const challenge of ["Bearer", 'Bearer realm="file:///etc/shadow"']) {
      const host = await guarded(
        () => challenge,
        () => false,
      );
      await fails(resolve(client(), host.host), "unauthenticated", /names no service/);
    }
  });

  test("one caller that gives up does not take the token from the others", async () => {
    const asked = Promise.withResolvers<ServerResponse>();
    const { registry: host, tokens } = await tokenRegistry((_, response) =>
      asked.resolve(response),
    );
    const registry = client();
    const controller = new AbortController();
    const reference = parseReference(`${host.host}/team/app`);
    const first = registry.resolve(reference, undefined, controller.signal);
    const response = await asked.promise;
    const second = registry.resolve(reference, undefined, anySignal);
    controller.abort();
    await fails(first, "canceled");
    response.end(JSON.stringify({ token: "good" }));
    assert.equal((await second).image.manifest.mediaType, ociManifest);
    assert.equal(tokens.seen.length, 1);
  });
});
