/** docs/fields.md says something of every field of a request, and of none that there is not. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import type { DescMessage } from "@bufbuild/protobuf";
import { ContainerConfigSchema, PodSandboxConfigSchema } from "../../src/gen/runtime/v1/api_pb.ts";

/** The fields of a message and of all that are in it, as `Message.field`. */
function fieldsOf(message: DescMessage, seen = new Set<DescMessage>()): readonly string[] {
  if (seen.has(message)) return [];
  seen.add(message);
  return message.fields.flatMap((field) => [
    `${message.name}.${field.name}`,
    ...(field.message === undefined ? [] : fieldsOf(field.message, seen)),
  ]);
}

/** The rows of the document, as "heading field": fields in backquotes that have a description. */
function rowsOf(text: string): readonly string[] {
  let heading = "";
  return text.split("\n").flatMap((line) => {
    heading = /^## (\S+)$/.exec(line)?.[1] ?? heading;
    const field = /^\| `(\S+)` \| \S.* \|$/.exec(line)?.[1];
    return field === undefined ? [] : [`${heading}.${field}`];
  });
}

test("docs/fields.md has a row for each field of the pods' and containers' configs, and no other", () => {
  const seen = new Set<DescMessage>();
  const fields = [PodSandboxConfigSchema, ContainerConfigSchema].flatMap((message) =>
    fieldsOf(message, seen),
  );
  const file = path.resolve(import.meta.dirname, "../../docs/fields.md");
  const rows = rowsOf(readFileSync(file, "utf8"));
  assert.deepEqual(rows.toSorted(), fields.toSorted());
});
