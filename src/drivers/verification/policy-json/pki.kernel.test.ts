import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import {
  type ImageToVerify,
  parseReference,
  type SimpleSignature,
} from "../../../core/image/index.ts";
import { findProgram } from "../../../linux/process/index.ts";
import type { SignaturesToCheck } from "../sigstore/signature-checker.ts";
import { verifyCertificate } from "./pki.ts";
import { parsePolicy } from "./policy.ts";
import { evaluateSigstoreSigned } from "./sigstore-signed.ts";

const { signal } = new AbortController();
const missing = ["openssl", "setpriv", "unshare"].filter(
  (name) => findProgram(name, "/usr/bin:/bin") === undefined,
);
const skip = missing.length > 0 ? `${missing.join(" and ")} not installed` : false;

describe("verifyCertificate()", { skip }, () => {
  let dir: string;
  before(() => {
    dir = mkdtempSync(join(tmpdir(), "davit-pki-"));
    const ca = ["keyUsage=critical,keyCertSign", "basicConstraints=critical,CA:TRUE"];
    issue("root", undefined, ca);
    issue("other", undefined, ca);
    issue("middle", "root", ca);
    issue("leaf", "middle", [...signing, "subjectAltName=email:a@x.test,DNS:h.x.test"]);
    issue("subject", "middle", signing, "/CN=h.x.test/emailAddress=a@x.test");
    issue("server", "middle", [
      "basicConstraints=CA:FALSE",
      "keyUsage=critical,digitalSignature",
      "extendedKeyUsage=serverAuth",
      "subjectAltName=email:a@x.test",
    ]);
  });
  after(() => rmSync(dir, { recursive: true, force: true }));

  const signing = [
    "basicConstraints=CA:FALSE",
    "keyUsage=critical,digitalSignature",
    "extendedKeyUsage=codeSigning",
  ];

  function issue(
    name: string,
    by: string | undefined,
    extensions: readonly string[],
    subject = `/CN=${name}`,
  ): void {
    const issuer = by === undefined ? [] : ["-CA", `${by}.pem`, "-CAkey", `${by}.key`];
    const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    const files = ["-keyout", `${name}.key`, "-out", `${name}.pem`, "-subj", subject];
    const added = extensions.flatMap((extension) => ["-addext", extension]);
    const args = ["req", "-x509", "-days", "2", "-batch", ...key, ...files, ...issuer, ...added];
    execFileSync("openssl", args, { cwd: dir, stdio: "ignore" });
  }

  const pem = (name: string): string => readFileSync(join(dir, `${name}.pem`), "utf8");
  const file = (name: string) => ({ name, bytes: readFileSync(join(dir, `${name}.pem`)) });

  async function verify(options: {
    readonly certificate?: string;
    readonly chain?: string;
    readonly root?: string;
    readonly intermediates?: string;
    readonly email?: string;
    readonly hostname?: string;
  }) {
    const { certificate = pem("leaf"), chain = pem("middle"), root = "root" } = options;
    const { email: subjectEmail, hostname: subjectHostname, intermediates } = options;
    const pki = {
      roots: file(root),
      intermediates: intermediates === undefined ? undefined : file(intermediates),
      subjectEmail,
      subjectHostname,
    };
    const directory = join(dir, "work");
    const answer = await verifyCertificate({ certificate, chain }, pki, { directory, signal });
    assert.deepEqual(readdirSync(directory), []);
    return answer;
  }

  test("returns the key of a certificate of the authority", async () => {
    const args = ["pkey", "-in", "leaf.key", "-pubout"];
    const key = execFileSync("openssl", args, { cwd: dir, encoding: "utf8" });
    assert.equal((await verify({ email: "a@x.test" })).key, key);
    assert.equal((await verify({ hostname: "h.x.test", email: "a@x.test" })).key, key);
    const intermediate = { chain: "", intermediates: "middle", email: "a@x.test" };
    assert.equal((await verify(intermediate)).key, key);
    const anchored = { chain: "", root: "middle", email: "a@x.test" };
    assert.equal((await verify(anchored)).key, key);
  });

  for (const [what, options, why] of [
    ["another e-mail address", { email: "b@x.test" }, /email address mismatch/],
    ["another host", { email: "a@x.test", hostname: "x.test" }, /hostname mismatch/],
    ["another authority", { email: "a@x.test", root: "other" }, /unable to get .*issuer cert/],
    ["no chain", { email: "a@x.test", chain: "" }, /unable to get .*issuer cert/],
    ["text", { email: "a@x.test", certificate: "text" }, /not PEM/],
    ["text in the chain", { email: "a@x.test", chain: "text" }, /not PEM/],
    [
      "broken PEM",
      {
        email: "a@x.test",
        certificate: "-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n",
      },
      /certificate is refused/,
    ],
  ] as const) {
    test(`refuses ${what}`, async () => {
      const answer = await verify(options);
      assert.ok(answer.reason !== undefined);
      assert.match(answer.reason, why);
    });
  }

  test("lets sigstoreSigned check signatures by that key", async () => {
    const requirement = {
      type: "sigstoreSigned",
      pki: { caRootsPath: join(dir, "root.pem"), subjectEmail: "a@x.test" },
      signedIdentity: { type: "matchRepository" },
    };
    const [parsed] = parsePolicy(JSON.stringify({ default: [requirement] }), "/p.json").default;
    assert.equal(parsed?.type, "sigstoreSigned");
    const digest = `sha256:${"a".repeat(64)}` as const;
    const descriptor = { mediaType: "manifest", digest, sizeBytes: 1n };
    const image: ImageToVerify = {
      reference: parseReference("x.test/app:1"),
      target: descriptor,
      manifest: descriptor,
      namespace: "",
    };
    const simple = {
      kind: "simple-signing",
      of: digest,
      digest,
      payload: Buffer.from("{}"),
      signature: "c2ln",
      rekorBundle: "",
      timestamp: "",
    } as const;
    const found: readonly SimpleSignature[] = [
      { ...simple, certificate: pem("server"), chain: pem("middle") },
      { ...simple, certificate: pem("leaf"), chain: pem("middle") },
    ];
    const asked: SignaturesToCheck[] = [];
    const evaluation = await evaluateSigstoreSigned(parsed, image, {
      source: { signatures: () => Promise.resolve(found) },
      workDirectory: join(dir, "work"),
      checker: {
        check: (request) => {
          asked.push(request);
          const result = { valid: true, signer: "key", reason: "", signedName: "x.test/app" };
          return Promise.resolve([result]);
        },
      },
      signal,
    });
    assert.equal(evaluation.accepted, true);
    assert.equal(evaluation.reason, `signed with a certificate for a@x.test of "${dir}/root.pem"`);
    assert.deepEqual(
      evaluation.signatures.map(({ valid, signer }) => [valid, signer]),
      [
        [false, ""],
        [true, "a@x.test"],
      ],
    );
    assert.equal(asked.length, 1);
    assert.match(asked[0]?.trust.keys[0]?.text ?? "", /BEGIN PUBLIC KEY/);
    assert.equal(asked[0]?.signatures.length, 1);
  });

  test("refuses a certificate whose subject alone has the name", async () => {
    for (const wanted of [{ email: "a@x.test" }, { hostname: "h.x.test" }]) {
      const { reason } = await verify({ ...wanted, certificate: pem("subject") });
      assert.match(reason ?? "", /not among its alternative names/);
    }
  });

  test("refuses a certificate for another purpose, several of them, and large ones", async () => {
    const email = "a@x.test";
    const server = await verify({ email, certificate: pem("server") });
    assert.match(server.reason ?? "", /certificate is refused: unsuitable certificate purpose/);
    const two = await verify({ email, certificate: `${pem("leaf")}${pem("server")}` });
    assert.match(two.reason ?? "", /not PEM/);
    const large = await verify({ email, chain: pem("middle").repeat(200) });
    assert.match(large.reason ?? "", /too large/);
  });
});

test("verifyCertificate() needs a certificate", async () => {
  const pki = {
    roots: { name: "", bytes: Buffer.alloc(0) },
    intermediates: undefined,
    subjectEmail: "a@x.test",
    subjectHostname: undefined,
  };
  const options = { directory: "/nonexistent", signal };
  const answer = await verifyCertificate({ certificate: "", chain: "" }, pki, options);
  assert.equal(answer.reason, "it has no certificate");
});
