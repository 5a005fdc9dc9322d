import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { kindOf } from "../../../base/errors.ts";
import { parseBootstrap } from "./bootstrap.ts";

describe("parseBootstrap()", () => {
  it("parses a bare address as version 2, and JSON", () => {
    assert.deepEqual(parseBootstrap("unix:///run/s/1\n"), { version: 2, socketPath: "/run/s/1" });
    assert.deepEqual(parseBootstrap("/run/s/1"), { version: 2, socketPath: "/run/s/1" });
    assert.deepEqual(parseBootstrap("unix://@name"), { version: 2, socketPath: "\0name" });
    const json = '{"version":3,"address":"unix:///run/s/2","protocol":"ttrpc"}';
    assert.deepEqual(parseBootstrap(json), { version: 3, socketPath: "/run/s/2" });
    const older = '{"version":2,"address":"unix:///run/s/2"}';
    assert.deepEqual(parseBootstrap(older), { version: 2, socketPath: "/run/s/2" });
  });

  it("rejects other versions, protocols and addresses", () => {
    const of = (answer: string): string => {
      try {
        parseBootstrap(answer);
        return "nothing";
      } catch (error) {
        return kindOf(error);
      }
    };
    assert.equal(
      of('{"version":3,"address":"unix:///s","protocol":"grpc"}'),
      "failed-precondition",
    );
    assert.equal(of('{"version":4,"address":"unix:///s"}'), "failed-precondition");
    assert.equal(of("tcp://127.0.0.1:1"), "failed-precondition");
    for (const none of ["", "  \n", "{", '{"version":3}']) assert.equal(of(none), "unavailable");
  });
});
