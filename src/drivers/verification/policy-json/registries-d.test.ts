import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";

import { parseReference } from "../../../core/image/index.ts";
import { registriesState, signatureStore } from "./registries-d.ts";

let dir: string;
beforeEach(() => void (dir = mkdtempSync(join(tmpdir(), "davit-registries-d-"))));
afterEach(() => rmSync(dir, { recursive: true }));

const file = (name: string, text: string): void => writeFileSync(join(dir, name), text);
const storeOf = async (name: string): Promise<string> =>
  (await signatureStore(dir, parseReference(name))).href;

describe("signatureStore()", () => {
  test("is that of the most specific scope which names one", async () => {
    file(
      "a.yaml",
      `docker:
  x.test: { lookaside: "https://store.test/x" }
  x.test/team: { sigstore: "file:///var/team" }
  x.test/team/app: { use-sigstore-attachments: true }
  x.test/team/app:1: { lookaside-staging: "file:///staging", lookaside: "http://one.test" }
`,
    );
    file("b.yaml", 'default-docker: { lookaside: "file:///all" }');
    file("c.conf", "not: [yaml");
    assert.equal(await storeOf("x.test/other:1"), "https://store.test/x");
    assert.equal(await storeOf("x.test/team/app:2"), "file:///var/team");
    assert.equal(await storeOf("x.test/team/app:1"), "http://one.test/");
    assert.equal(await storeOf("x.test:5000/a"), "file:///all");
  });

  test("is that of containers/image without configuration", async () => {
    assert.equal(await storeOf("a"), "file:///var/lib/containers/sigstore");
    const missing = await signatureStore(join(dir, "missing"), parseReference("a"));
    assert.equal(missing.href, "file:///var/lib/containers/sigstore");
  });

  for (const [text, why] of [
    ["docker: [a]", /docker must be a mapping/],
    ["docker: { a: b }", /docker."a" must be a mapping/],
    ["a: [", /it is not YAML/],
    ["- a", /it must be a mapping/],
    ["docker: { x.test: {lookaside: 1} }", /"lookaside" must be a text/],
    [
      "docker: { x.test: {lookaside: 'ftp://x.test'} }",
      /the lookaside of x.test is not an address/,
    ],
    ["docker: { x.test: {}, x.test: {} }", /it is not YAML/],
    ["a: &a {lookaside: x}\ndocker: { x.test: *a }", /it is not YAML/],
  ] as const) {
    test(`refuses ${JSON.stringify(text)}`, async () => {
      file("a.yaml", text);
      await assert.rejects(storeOf("x.test/a:1"), why);
    });
  }

  test("refuses a scope that two files have", async () => {
    file("a.yaml", "docker: { x.test: {} }");
    file("b.yaml", "docker: { x.test: {} }");
    await assert.rejects(storeOf("x.test/a:1"), /b.yaml": "x.test" is also in ".*a.yaml"/);
  });
});

test("registriesState() changes with the files", async () => {
  const states = [await registriesState(dir)];
  file("a.yaml", "docker: {}");
  states.push(await registriesState(dir));
  file("a.yaml", "docker: { x.test: {} }");
  states.push(await registriesState(dir));
  assert.equal(new Set(states).size, 3);
});
