import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { parseReference } from "../../../core/image/index.ts";
import { keyFilesOf, parsePolicy, requirementsOf, scopesOf } from "./policy.ts";

const accept = [{ type: "insecureAcceptAnything" }];
const reject = [{ type: "reject" }];
const parse = (value: unknown) => parsePolicy(JSON.stringify(value), "/p.json");
const requirement = (value: unknown) => parse({ default: [value] }).default[0];

test("scopesOf() has names, namespaces, the registry and wildcards, the most specific first", () => {
  assert.deepEqual(scopesOf(parseReference("a.b.test:5000/team/sub/app:1")), [
    "a.b.test:5000/team/sub/app:1",
    "a.b.test:5000/team/sub/app",
    "a.b.test:5000/team/sub",
    "a.b.test:5000/team",
    "a.b.test:5000",
    "*.b.test",
    "*.test",
  ]);
  assert.deepEqual(scopesOf(parseReference("busybox")).slice(0, 3), [
    "docker.io/library/busybox:latest",
    "docker.io/library/busybox",
    "docker.io/library",
  ]);
});

describe("requirementsOf()", () => {
  const typeFor = (scopes: Record<string, unknown>, name: string): string | undefined => {
    const policy = parse({ default: reject, transports: { docker: scopes, dir: { "": reject } } });
    return requirementsOf(policy, parseReference(name))[0]?.type;
  };

  test("takes those of the most specific scope alone", () => {
    assert.equal(
      typeFor({ "x.test/a": accept, "x.test": reject }, "x.test/a/b:1"),
      "insecureAcceptAnything",
    );
    assert.equal(typeFor({ "x.test/a": accept, "x.test/a:1": reject }, "x.test/a:1"), "reject");
    assert.equal(typeFor({ "x.test/a": accept }, "x.test/ab:1"), "reject");
    assert.equal(typeFor({ "x.test": accept }, "x.test:5000/a:1"), "reject");
    assert.equal(typeFor({ "*.test": accept }, "y.x.test:5000/a:1"), "insecureAcceptAnything");
    assert.equal(typeFor({ "*.x.test": accept }, "x.test/a:1"), "reject");
    assert.equal(typeFor({ "": accept }, "x.test/a:1"), "insecureAcceptAnything");
  });

  test("finds the scope of a registry by another spelling of it", () => {
    const scopes = { "": accept, "x.test/a": reject, "docker.io/library": reject };
    for (const name of ["X.test/a/b:1", "x.test:443/a:1", "DOCKER.IO/nginx"]) {
      assert.equal(typeFor(scopes, name), "reject", name);
    }
    assert.equal(typeFor(scopes, "x.test:5000/a:1"), "insecureAcceptAnything");
    const both = { "x.test": reject, "x.test:443/a": accept };
    assert.equal(typeFor(both, "x.test:443/a:1"), "insecureAcceptAnything");
  });

  test("takes the default without a scope", () => {
    assert.equal(typeFor({}, "x.test/a:1"), "reject");
    const policy = parse({ default: accept });
    assert.equal(requirementsOf(policy, parseReference("a"))[0]?.type, "insecureAcceptAnything");
  });
});

describe("parsePolicy()", () => {
  test("names the file and the place of each requirement", () => {
    const policy = parse({
      default: reject,
      transports: { docker: { "x.test/a": [...accept, ...reject] } },
    });
    const [, second] = requirementsOf(policy, parseReference("x.test/a:1"));
    assert.equal(second?.where, '"/p.json": transports.docker."x.test/a"[1]');
    assert.equal(policy.default[0]?.where, '"/p.json": default[0]');
  });

  const key = "/etc/keys/a.pub";
  const sigstore = { type: "sigstoreSigned", keyPath: key };
  const fulcio = { caPath: "/ca.pem", oidcIssuer: "https://i.test", subjectEmail: "a@x.test" };
  for (const [value, why] of [
    [{}, /read "\/p.json": it must have the key "default"/],
    [{ default: [] }, /default: it must be a list that is not empty/],
    [{ default: accept, defaults: accept }, /must not have the key "defaults"/],
    [{ default: accept, transports: [] }, /transports: it must be an object/],
    [
      { default: accept, transports: { docker: { x: [] } } },
      /transports.docker.x: it must be a list/,
    ],
    [{ default: accept, transports: { "docker-archive": { x: accept } } }, /has only the scope ""/],
    [{ default: ["reject"] }, /default\[0\]: it must have a known "type"/],
    [{ default: [null] }, /default\[0\]: it must have a known "type"/],
    [{ default: [{ type: "sigstore" }] }, /known "type"; it is "\\"sigstore\\""/],
    [
      { default: [{ type: "reject", reason: "" }] },
      /default\[0\]: it must not have the key "reason"/,
    ],
    [{ default: [{ type: "signedBaseLayer" }] }, /must have the key "baseLayerIdentity"/],
    [{ default: [{ type: "signedBy", keyPath: key }] }, /must have the key "keyType"/],
    [
      { default: [{ type: "signedBy", keyType: "PGP", keyPath: key }] },
      /keyType "PGP" is not one of/,
    ],
    [{ default: [{ type: "signedBy", keyType: "GPGKeys" }] }, /must have one of "keyPath"/],
    [
      { default: [{ ...sigstore, keyData: "YQ==" }] },
      /must not have "keyPath" and "keyData" together/,
    ],
    [{ default: [{ ...sigstore, keyPath: "a.pub" }] }, /keyPath: "a.pub" must be an absolute path/],
    [{ default: [{ ...sigstore, keyPath: 1 }] }, /keyPath: it must be a text/],
    [{ default: [{ type: "sigstoreSigned", keyPaths: [] }] }, /keyPaths: it must be a list/],
    [{ default: [{ type: "sigstoreSigned", keyData: "a" }] }, /keyData: it must be base64/],
    [{ default: [{ type: "sigstoreSigned" }] }, /exactly one of "keyPath"/],
    [{ default: [{ type: "sigstoreSigned", fulcio }] }, /must have a key of Rekor/],
    [{ default: [{ ...sigstore, fulcio }] }, /exactly one of "keyPath"/],
    [
      { default: [{ type: "sigstoreSigned", fulcio: { ...fulcio, oidcIssuer: "" } }] },
      /fulcio.oidcIssuer: it must be a text/,
    ],
    [
      { default: [{ type: "sigstoreSigned", fulcio: { ...fulcio, caData: "YQ==" } }] },
      /must not have "caPath" and "caData" together/,
    ],
    [
      { default: [{ type: "sigstoreSigned", pki: { caRootsPath: "/ca.pem" } }] },
      /pki: it must have "subjectEmail" or "subjectHostname"/,
    ],
    [
      {
        default: [
          {
            type: "sigstoreSigned",
            pki: { caRootsPath: "/ca.pem", subjectEmail: "a@x.test" },
            rekorPublicKeyPath: "/r.pub",
          },
        ],
      },
      /with "pki", it must not have a key of Rekor/,
    ],
  ] as const) {
    test(`refuses ${JSON.stringify(value)}`, () => {
      assert.throws(() => parse(value), why);
    });
  }

  test("reads keys as files and as data", () => {
    const data = Buffer.from("a key").toString("base64");
    assert.deepEqual(requirement({ type: "sigstoreSigned", keyDatas: [data, data] }), {
      where: '"/p.json": default[0]',
      type: "sigstoreSigned",
      keys: [{ data: Buffer.from("a key") }, { data: Buffer.from("a key") }],
      fulcio: undefined,
      pki: undefined,
      rekorKeys: undefined,
      signedIdentity: { type: "matchRepoDigestOrExact" },
    });
    const signedBy = requirement({ type: "signedBy", keyType: "GPGKeys", keyPaths: ["/a", "/b"] });
    assert.deepEqual(signedBy?.type === "signedBy" && signedBy.keys, [
      { path: "/a" },
      { path: "/b" },
    ]);
  });
});

test("keyFilesOf() has each file of all requirements once", () => {
  const policy = parse({
    default: [{ type: "signedBy", keyType: "GPGKeys", keyPath: "/a" }],
    transports: {
      docker: {
        "x.test": [
          { type: "sigstoreSigned", keyPaths: ["/a", "/b"], rekorPublicKeyPath: "/r" },
          {
            type: "sigstoreSigned",
            pki: { caRootsPath: "/c", caIntermediatesPath: "/d", subjectHostname: "h.test" },
          },
        ],
      },
    },
  });
  assert.deepEqual(keyFilesOf(policy), ["/a", "/b", "/r", "/c", "/d"]);
});
