import assert from "node:assert/strict";
import { describe, it } from "node:test";

import { fromBinary } from "@bufbuild/protobuf";
import { kindOf, messageOf } from "../../../base/errors.ts";
import { OptionsSchema as RuncOptions } from "../../../gen/containerd/runc/v1/options_pb.ts";
import { OptionsSchema as GenericOptions } from "../../../gen/runtimeoptions/v1/options_pb.ts";
import { encodeOptions, isRuncType } from "./options.ts";

describe("encodeOptions()", () => {
  it("encodes runc's own message, with the root if there is none", () => {
    const type = "io.containerd.runc.v2";
    const any = encodeOptions(type, { BinaryName: "crun", SystemdCgroup: true, IoUid: 7 }, "/r");
    assert.equal(any.typeUrl, "containerd.runc.v1.Options");
    const { $typeName: _, ...fields } = fromBinary(RuncOptions, any.value);
    assert.deepEqual(
      [fields.binaryName, fields.systemdCgroup, fields.ioUid, fields.root],
      ["crun", true, 7, "/r"],
    );
    const own = encodeOptions(type, { Root: "/own" }, "/r");
    assert.equal(fromBinary(RuncOptions, own.value).root, "/own");
  });

  it("refuses options that runc's shim does not know", () => {
    const cases = [{ BinaryNme: "crun" }, { BinaryName: 3 }, { SystemdCgroup: "yes" }];
    for (const options of cases) {
      assert.throws(
        () => encodeOptions("io.containerd.runc.v2", options, ""),
        (error) =>
          kindOf(error) === "invalid-argument" && /BinaryN|SystemdC/.test(messageOf(error)),
      );
    }
  });

  it("gives other shims a path, or the whole table", () => {
    const type = "io.containerd.kata.v2";
    const path = encodeOptions(type, { ConfigPath: "/etc/kata.toml", Other: 1 }, "");
    assert.equal(path.typeUrl, "runtimeoptions.v1.Options");
    const byPath = fromBinary(GenericOptions, path.value);
    assert.deepEqual([byPath.configPath, byPath.configBody.length], ["/etc/kata.toml", 0]);
    const table = fromBinary(GenericOptions, encodeOptions(type, { Size: 2 }, "").value);
    assert.equal(new TextDecoder().decode(table.configBody).trim(), "Size = 2");
    assert.equal(encodeOptions(type, {}, "").value.length, 0);
  });

  it("isRuncType() recognizes runc by type and by path", () => {
    assert.ok(isRuncType("io.containerd.runc.v2"));
    assert.ok(isRuncType("/usr/bin/containerd-shim-runc-v2"));
    for (const type of ["io.containerd.runsc.v1", "io.containerd.kata.v2", "/bin/runc"])
      assert.ok(!isRuncType(type), type);
  });
});
