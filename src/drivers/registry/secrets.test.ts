import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer, type ServerResponse } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import { RuntimeError } from "../../base/errors.ts";
import { parseReference, type RegistryAuth } from "../../core/image/index.ts";
import { Registry } from "./registry.ts";
import { Secrets, withoutQueries } from "./secrets.ts";
import {
  type Certificates,
  digestOf,
  KeptLog,
  makeCertificates,
  fetcherOf,
  ScriptedRegistry,
  type Script,
  type Seen,
  someAuth,
} from "./testing/scripted-registry.ts";

/** The first byte of a TLS connection (RFC 8446, section 5.1). */
const tlsHandshake = 22;
const anySignal = new AbortController().signal;

let dir: string;
let certificates: Certificates;
let stack: AsyncDisposableStack;
let log: KeptLog;

before(() => {
  dir = mkdtempSync(join(tmpdir(), "davit-secrets-"));
  certificates = makeCertificates(dir);
});
after(() => {
  rmSync(dir, { recursive: true });
});
beforeEach(() => {
  stack = new AsyncDisposableStack();
  log = new KeptLog();
});
afterEach(() => stack.disposeAsync());

async function server(script: Script, tls?: Certificates): Promise<ScriptedRegistry> {
  return stack.use(await ScriptedRegistry.open(script, tls));
}

/** A client for `x.test`, which is this server. */
function client(url: string, more = ""): Registry {
  const configDir = mkdtempSync(join(dir, "certs.d-"));
  mkdirSync(join(configDir, "x.test"));
  writeFileSync(join(configDir, "x.test", "hosts.toml"), `server = "${url}"\n${more}`);
  writeFileSync(join(configDir, "x.test", "ca.pem"), certificates.ca);
  const timing = { backoffMs: [], answerTimeoutMs: 5000, idleTimeoutMs: 50 };
  return stack.use(new Registry({ configDir, log, timing }));
}

const resolve = (registry: Registry, auth?: RegistryAuth): Promise<unknown> =>
  registry.resolve(parseReference("x.test/app"), auth, anySignal);

/** Checks kind and message of an error, and that neither it nor the log shows a secret. */
async function fails(
  promise: Promise<unknown>,
  kind: string,
  shown: RegExp,
  hidden: RegExp,
): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof RuntimeError, String(error));
    assert.equal(error.kind, kind, error.message);
    assert.match(error.message, shown);
    for (let one: unknown = error; one instanceof Error; one = one.cause) {
      assert.doesNotMatch(one.message, hidden);
    }
    assert.doesNotMatch(JSON.stringify(log.lines), hidden);
    return true;
  });
}

const echo =
  (status: number, text: (seen: Seen) => string) => (seen: Seen, response: ServerResponse) =>
    void response.writeHead(status).end(text(seen));

describe("a registry that repeats what it was sent", () => {
  const header = `Basic ${Buffer.from("node:hunter22").toString("base64")}`;

  test("is not quoted with a header of hosts.toml", async () => {
    const toml = `[header]\nauthorization = "${header}"\nx-key = ["k3y-of-the-node", "other-k3y"]`;
    const host = await server(
      echo(401, ({ headers }) =>
        [
          headers.authorization,
          "user node with password hunter22",
          headers["x-key"],
          encodeURIComponent(headers.authorization ?? ""),
        ].join(" and "),
      ),
    );
    await fails(
      resolve(client(`http://${host.host}`, toml)),
      "unauthenticated",
      /answered 401 .*\*\*\* and user node with password \*\*\*/,
      /hunter22|k3y|bm9kZTpodW50ZXIyMg|Basic bm9/,
    );
  });

  test("is not quoted with it in the answer of its token service, or in other headers", async () => {
    const toml = `[header]\nx-key = "k3y-of-the-node"`;
    const host = await server(({ url, headers }, response) => {
      const text = JSON.stringify({ details: `no token for ${String(headers["x-key"])}` });
      if (url.startsWith("/token")) return void response.writeHead(403).end(text);
      const realm = `Bearer realm="http://${headers.host ?? ""}/token"`;
      response.writeHead(401, { "www-authenticate": realm }).end();
    });
    await fails(
      resolve(client(`http://${host.host}`, toml)),
      "permission-denied",
      /its token service .* answered 403 "no token for \*\*\*"/,
      /k3y/,
    );
    const odd = await server(({ headers }, response) => {
      response.writeHead(429, { "retry-after": String(headers["x-key"]) }).end();
    });
    await fails(
      resolve(client(`http://${odd.host}`, toml)),
      "resource-exhausted",
      /answered 429/,
      /k3y/,
    );
    const liar = await server(({ headers }, response) => {
      response.setHeader("docker-content-digest", `sha256:${String(headers["x-key"])}`);
      response.end("{}");
    });
    await fails(
      resolve(client(`http://${liar.host}`, toml)),
      "data-loss",
      /instead of sha256:\*\*\*/,
      /k3y/,
    );
  });

  test("is not quoted with the values of a signed URL", async () => {
    const query = "X-Amz-Signature=S1GNEDSECRET99&sig=a%2Fb%2Bc1234%3D&se=1";
    const host = await server(({ url, headers }, response) => {
      if (url.startsWith("/signed")) {
        const text = `no ${url} here, S1GNEDSECRET99 or a/b+c1234= is wrong`;
        return void response.writeHead(404).end(text);
      }
      const location = `http://${headers.host ?? ""}/signed?${query}`;
      response.writeHead(307, { location }).end();
    });
    await fails(
      resolve(client(`http://${host.host}`)),
      "not-found",
      /no \/signed\?X-Amz-Signature=\*\*\*&sig=\*\*\*&se=\*\*\* here, \*\*\* or \*\*\* is wrong/,
      /S1GNED|a%2Fb|b\+c1234/,
    );
  });
});

describe("a registry that redirects", () => {
  async function redirecting(target: Script): Promise<{
    readonly host: ScriptedRegistry;
    readonly store: ScriptedRegistry;
  }> {
    const store = await server(target);
    const location = `http://${store.host}/nothere?X-Amz-Signature=S1GNEDSECRET99&sig=x`;
    const host = await server((_, response) => void response.writeHead(307, { location }).end());
    return { host, store };
  }

  test("is not the one that failed: the other host is, and only its code is quoted", async () => {
    const xml = "<Error><Code>NoSuchKey</Code><Key>k</Key><Info>of the inside</Info></Error>";
    for (const [text, quoted] of [
      [xml, ' "NoSuchKey"'],
      ['{"errors": [{"code": "BLOB_UNKNOWN", "message": "of the inside"}]}', ' "BLOB_UNKNOWN"'],
      ["of the inside, at /nothere?X-Amz-Signature=S1GNEDSECRET99&sig=x", ""],
      ["<Code>of the inside</Code>", ""],
    ] as const) {
      const { host, store } = await redirecting(echo(404, () => text));
      await fails(
        resolve(client(`http://${host.host}`)),
        "not-found",
        new RegExp(`"${host.host}" redirects to "${store.host}", which answered 404${quoted};`),
        /S1GNED|inside/,
      );
    }
  });

  test("sees nothing of a page that is not a manifest", async () => {
    for (const text of ["of the inside", '["of the inside"]', '"of the inside"']) {
      const { host, store } = await redirecting((_, response) => void response.end(text));
      await fails(
        resolve(client(`http://${host.host}`)),
        "data-loss",
        new RegExp(`redirects to "${store.host}", which sent a manifest that is not `),
        /S1GNED|inside/,
      );
    }
  });

  test("is not asked for a password for the sake of the other host", async () => {
    const tokens = await server((_, response) => void response.end('{"token": "t"}'));
    for (const scheme of [`Bearer realm="http://${tokens.host}/"`, "Basic"]) {
      const challenge = { "www-authenticate": scheme };
      const { host, store } = await redirecting(
        (_, response) => void response.writeHead(401, challenge).end(),
      );
      const auth = someAuth({ username: "u", password: "s3cret" });
      await fails(
        resolve(client(`http://${host.host}`), auth),
        "permission-denied",
        new RegExp(`redirects to "${store.host}", which answered 401`),
        /s3cret|dTpz|S1GNED/,
      );
      assert.equal(tokens.seen.length, 0);
      assert.deepEqual(
        [...host.seen, ...store.seen].map(({ headers }) => headers.authorization),
        [undefined, undefined],
      );
    }
  });

  test("is not the one that breaks off in the middle of a blob", async () => {
    const { host, store } = await redirecting((_, response) => {
      response.writeHead(200, { "content-length": 1000 });
      response.write("x");
    });
    const bytes = Buffer.alloc(1000, "x");
    const blob = { mediaType: "any", digest: digestOf(bytes), sizeBytes: 1000n };
    const registry = client(`http://${host.host}`);
    const stream = await fetcherOf(registry, "x.test/app").blob(blob, anySignal);
    const reading = (async () => {
      for await (const _ of stream.chunks);
    })();
    await fails(
      reading,
      "unavailable",
      new RegExp(`"${host.host}" redirects to "${store.host}", which sent nothing for`),
      /S1GNED/,
    );
  });
});

describe("a registry that names its token service", () => {
  const challenging =
    (realm: () => string): Script =>
    (_, response) =>
      void response.writeHead(401, { "www-authenticate": `Bearer realm="${realm()}"` }).end();

  test("sees nothing of a page that is not an error of a token service", async () => {
    const inside = await server(echo(404, () => "of the inside"));
    const host = await server(challenging(() => `http://${inside.host}/admin`));
    await fails(
      resolve(client(`http://${host.host}`)),
      "not-found",
      /its token service .* answered 404/,
      /of the inside/,
    );
  });

  test("gets no header of hosts.toml there without encryption", async () => {
    const keys = { secure: [] as unknown[], plain: [] as unknown[] };
    let port = 0;
    const secure = createSecureServer(certificates, ({ headers }, response) => {
      keys.secure.push(headers["x-key"]);
      const realm = `Bearer realm="http://127.0.0.1:${port}/token"`;
      response.writeHead(401, { "www-authenticate": realm }).end();
    });
    const plain = createHttpServer(({ headers }, response) => {
      keys.plain.push(headers["x-key"]);
      response.end('{"token": "t"}');
    });
    // One port for both: the name and the port of the token service are those of the registry.
    const either = createServer((socket) => {
      socket.once("readable", () => {
        const bytes = socket.read() as Buffer | null;
        if (bytes !== null) socket.unshift(bytes);
        (bytes?.[0] === tlsHandshake ? secure : plain).emit("connection", socket);
      });
    });
    either.listen(0, "127.0.0.1");
    await once(either, "listening");
    stack.defer(() => void either.close());
    ({ port } = either.address() as AddressInfo);
    const toml = `ca = "ca.pem"\n[header]\nx-key = "k3y-of-the-node"`;
    const registry = client(`https://127.0.0.1:${port}`, toml);
    await fails(resolve(registry), "unauthenticated", /answered 401/, /k3y/);
    assert.deepEqual(keys, { secure: Array(2).fill("k3y-of-the-node"), plain: [undefined] });
    registry[Symbol.dispose]();
  });
});

describe("Secrets", () => {
  test("hides each spelling, and the longest first", () => {
    const secrets = new Secrets();
    secrets.addAuthorization("Bearer abcd<\"&'>");
    secrets.addAuthorization("abcd");
    for (const [text, masked] of [
      ["abcd<\"&'>!", "***!"],
      [`${JSON.stringify("abcd<\"&'>")}!`, '"***"!'],
      [`${encodeURIComponent("abcd<\"&'>")}!`, "***!"],
      ["abcd&lt;\"&amp;'&gt;!", "***!"],
      ["Bearer abcd<\"&'>!", "***!"],
      ["abcde", "***e"],
    ] as const) {
      assert.equal(secrets.mask(text), masked);
    }
  });

  test("leaves short texts alone, which are words", () => {
    const secrets = new Secrets();
    secrets.addAuthorization("the");
    secrets.addUrl(new URL("http://x/?region=east&expires=3600"));
    assert.equal(secrets.mask("the region east for 3600 s"), "the region east for 3600 s");
  });

  test("withoutQueries() hides the value of each parameter", () => {
    assert.equal(
      withoutQueries('GET "https://x/y?a=b&c.d=e/f+g&amp;h=i": 403, a=b & c?'),
      'GET "https://x/y?a=***&c.d=***&amp;h=***": 403, a=b & c?',
    );
  });
});
