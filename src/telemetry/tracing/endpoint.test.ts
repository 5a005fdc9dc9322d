import assert from "node:assert/strict";
import { test } from "node:test";
import { readEndpoint } from "./endpoint.ts";

test("the path of OTLP/HTTP is the default", () => {
  const url = (text: string): string => readEndpoint(text, {}).url.href;
  assert.equal(url("http://127.0.0.1:4318"), "http://127.0.0.1:4318/v1/traces");
  assert.equal(url("http://127.0.0.1:4318/"), "http://127.0.0.1:4318/v1/traces");
  assert.equal(url("https://otel.example/otlp/v1/traces"), "https://otel.example/otlp/v1/traces");
});

test("credentials are sent, and shown nowhere", () => {
  const secret = "p@ss word";
  const { url, headers, shown, mask } = readEndpoint(
    `https://us%40er:${encodeURIComponent(secret)}@otel.example/v1?key=quite-secret`,
    { "X-Api-Key": "abcd-1234", Tenant: "a" },
  );
  const basic = Buffer.from(`us@er:${secret}`).toString("base64");
  assert.deepEqual(headers, {
    authorization: `Basic ${basic}`,
    "x-api-key": "abcd-1234",
    tenant: "a",
  });
  assert.equal(url.href, "https://otel.example/v1?key=quite-secret");
  assert.equal(shown, "https://otel.example/v1");
  const said = `no: ${secret} ${encodeURIComponent(secret)} ${basic} abcd-1234 quite-secret`;
  assert.equal(mask(said), "no: *** *** *** *** ***");
  assert.equal(mask("e".repeat(1000)).length, 256);
});

test("an Authorization header takes precedence over the URL", () => {
  const { headers, mask } = readEndpoint("http://user:password@127.0.0.1:1", {
    Authorization: "Bearer abcdefgh",
  });
  assert.deepEqual(headers, { authorization: "Bearer abcdefgh" });
  assert.equal(mask("token abcdefgh is unknown"), "token *** is unknown");
});
