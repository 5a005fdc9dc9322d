// Descriptors of base/descriptors beside those of the library, for all of src/gen.
import assert from "node:assert/strict";
import { readFileSync, globSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import type { AnyDesc, DescField, DescFile, DescMessage } from "@bufbuild/protobuf";
import { fileDesc as libraryFile } from "@bufbuild/protobuf/codegenv2";
import * as wellKnown from "@bufbuild/protobuf/wkt";
import { enumDesc, fileDesc, messageDesc } from "../base/descriptors/index.ts";

const gen = path.resolve(import.meta.dirname, "../gen");
const pattern = /const (file_\w+): GenFile = .*\n  fileDesc\("([^"]+)"(?:, \[([^\]]*)\])?\)/;

/** The arguments of each generated file by its name. */
const calls = new Map(
  globSync("**/*_pb.ts", { cwd: gen }).map((file) => {
    const source = readFileSync(path.join(gen, file), "utf8");
    const [, name = "", base64 = "", imports = ""] = pattern.exec(source) ?? [];
    const names = imports.split(", ").filter((each) => each !== "");
    return [name, { source, base64, imports: names }] as const;
  }),
);

/** The file that `make` makes of a generated one, and of those that it imports. */
function made(name: string, make: typeof libraryFile): DescFile {
  const call = calls.get(name);
  if (call === undefined)
    return (wellKnown as unknown as Record<string, DescFile>)[name] ?? assert.fail(name);
  return make(
    call.base64,
    call.imports.map((each) => made(each, make)),
  );
}

/** What a descriptor says, with names in place of the descriptors that it refers to. */
function said(desc: AnyDesc): unknown {
  const entries = keysOf[desc.kind].map((key) => [key, plain(Reflect.get(desc, key))]);
  return { ...Object.fromEntries(entries), text: String(desc) };
}

function plain(value: unknown): unknown {
  if (typeof value === "function") return (value as () => unknown)();
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  if ("kind" in value) return (value as AnyDesc).toString();
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, plain(each)]));
}

const named = ["kind", "name", "deprecated"];
const keysOf: Readonly<Record<AnyDesc["kind"], readonly string[]>> = {
  file: [...named, "edition", "dependencies", "enums", "messages", "extensions", "services"],
  message: [
    ...[...named, "typeName", "file", "parent", "fields", "field", "oneofs", "members"],
    ...["nestedEnums", "nestedMessages", "nestedExtensions"],
  ],
  field: [
    ...[
      ...named,
      "number",
      "localName",
      "jsonName",
      "parent",
      "oneof",
      "presence",
      "utf8Validation",
    ],
    ...["fieldKind", "scalar", "message", "enum", "listKind", "mapKind", "mapKey", "packed"],
    ...["longAsString", "delimitedEncoding", "getDefaultValue"],
  ],
  oneof: [...named, "localName", "parent", "fields"],
  enum: [...named, "typeName", "file", "parent", "open", "values", "value", "sharedPrefix"],
  enum_value: [...named, "localName", "number", "jsonName", "parent"],
  service: [...named, "typeName", "file", "methods", "method"],
  rpc: [...named, "localName", "parent", "methodKind", "input", "output", "idempotency"],
  extension: named,
};

function* within(desc: AnyDesc): Generator<AnyDesc> {
  yield desc;
  const inner: readonly AnyDesc[] =
    desc.kind === "file"
      ? [...desc.enums, ...desc.messages, ...desc.services]
      : desc.kind === "message"
        ? [...desc.nestedEnums, ...desc.nestedMessages, ...desc.fields, ...desc.oneofs]
        : desc.kind === "enum"
          ? desc.values
          : desc.kind === "service"
            ? desc.methods
            : [];
  for (const each of inner) yield* within(each);
}

/** The types in a message, found by their path and as they are. */
function nestedIn(
  file: DescFile,
  message: DescMessage,
  path: readonly number[],
): readonly (readonly [AnyDesc, AnyDesc])[] {
  const [top = 0, ...rest] = path;
  return [
    ...message.nestedEnums.map((each, at) => [enumDesc(file, top, ...rest, at), each] as const),
    ...message.nestedMessages.flatMap((each, at) => [
      [messageDesc(file, top, ...rest, at), each] as const,
      ...nestedIn(file, each, [...path, at]),
    ]),
  ];
}

describe("fileDesc()", () => {
  test("is used by all of src/gen", () => {
    assert.ok(calls.size > 30);
    for (const [name, { source, base64 }] of calls) {
      assert.notEqual(base64, "", name);
      assert.match(source, /^import \{.* fileDesc\b.* from "#descriptors";$/m, name);
      assert.doesNotMatch(source, /codegenv2/, name);
    }
  });

  for (const name of calls.keys()) {
    test(`says of ${name} what the library says`, () => {
      assert.deepEqual(
        [...within(made(name, fileDesc))].map(said),
        [...within(made(name, libraryFile))].map(said),
      );
    });
  }

  test("has the same object for a type wherever it is used", () => {
    const file = made("file_runtime_v1_api", fileDesc);
    const byName = new Map(file.messages.map((message) => [message.typeName, message]));
    const target = ({ message }: DescField): DescMessage | undefined => message;
    for (const field of file.messages.flatMap(({ fields }) => fields)) {
      const used = target(field);
      if (used !== undefined) assert.equal(byName.get(used.typeName), used);
    }
    assert.equal(messageDesc(file, 0), file.messages[0]);
  });

  test("finds types in messages by their path", () => {
    const files = [...calls.keys()].map((name) => made(name, fileDesc));
    const found = files.flatMap((file) =>
      file.messages.flatMap((each, at) => nestedIn(file, each, [at])),
    );
    assert.ok(found.length > 0);
    for (const [got, expected] of found) assert.equal(got, expected);
  });

  test("refuses a type that no file has", () => {
    const call = calls.get("file_containerd_task_v3_task") ?? assert.fail();
    const file = fileDesc(call.base64);
    assert.throws(() => file.messages.map(({ fields }) => fields), /type [\w.]+ is missing/);
  });
});
