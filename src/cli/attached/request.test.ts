import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { test } from "node:test";
import { parseRequest, readRequest } from "./request.ts";

test("parseRequest() reads the options of Davit.start(), and refuses others", () => {
  assert.deepEqual(parseRequest("{}"), { network: "bridge" });
  assert.deepEqual(parseRequest('{"network":"none","root":"/r","config":"[log]"}'), {
    network: "none",
    root: "/r",
    config: "[log]",
  });
  const conflist = '{"network":{"conflist":"/etc/cni/x.conflist"}}';
  assert.deepEqual(parseRequest(conflist), { network: { conflist: "/etc/cni/x.conflist" } });
  for (const line of [
    "",
    "x",
    "null",
    "5",
    '{"network":"host"}',
    '{"network":{}}',
    '{"root":"relative"}',
    '{"config":1}',
  ]) {
    assert.throws(() => parseRequest(line), { kind: "invalid-argument" }, line);
  }
});

test("readRequest() takes the first line, and tells the end of the program", async () => {
  const stream = new PassThrough();
  const { request, ended } = readRequest(stream);
  stream.write('{"network":');
  stream.write('"none"}\n{"network":"bridge"}\n');
  assert.deepEqual(await request, { network: "none" });
  let isOver = false;
  void ended.then(() => (isOver = true));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(isOver, false);
  stream.end();
  await ended;
});

test("readRequest() rejects a program that ends before it asks", async () => {
  const stream = new PassThrough();
  const { request, ended } = readRequest(stream);
  stream.end();
  await assert.rejects(request, { kind: "invalid-argument" });
  await ended;
});
