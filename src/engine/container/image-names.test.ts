import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import type { Digest } from "../../base/digest.ts";
import { parseReference } from "../../core/image/index.ts";
import { ImageSpecSchema } from "../../gen/runtime/v1/api_pb.ts";
import { imageNames } from "./image-names.ts";

const id: Digest = `sha256:${"a".repeat(64)}`;
const [one, two, three] = ["1", "2", "3"].map((digit) => `sha256:${digit.repeat(64)}`);
const image = {
  id,
  repoTags: ["a.test/app:1", "b.test/app:1", "b.test/app:2"],
  repoDigests: [`a.test/app@${one}`, `b.test/app@${two}`, `b.test/app@${three}`],
};

/** What is shown, and image_ref. */
function namesFor(requested: string, userSpecifiedImage = "", of = image): readonly string[] {
  const spec = create(ImageSpecSchema, { image: requested, userSpecifiedImage });
  const names = imageNames({ referenceOf: parseReference }, of, spec);
  assert.deepEqual([names.id, names.requested], [id, requested]);
  return [names.shown, names.ref];
}

for (const [what, name, expected] of [
  ["a tag that the image has", "b.test/app:2", ["b.test/app:2", `b.test/app@${two}`]],
  ["a digest that it has", `b.test/app@${three}`, [3, 3].map(() => `b.test/app@${three}`)],
  ["another tag of a repository", "b.test/app:old", [2, 2].map(() => `b.test/app@${two}`)],
  ["another repository", "b.test/ap", ["a.test/app:1", `a.test/app@${one}`]],
  ["no image at all", "Not a name", ["a.test/app:1", `a.test/app@${one}`]],
] as const) {
  test(`the names of an image whose user specified ${what}`, () => {
    assert.deepEqual(namesFor(id, name), expected);
    if (name !== "Not a name") assert.deepEqual(namesFor(name), expected);
  });
}

test("the names of an image that was requested by its id, and of one without a name", () => {
  assert.deepEqual(namesFor(id), ["a.test/app:1", `a.test/app@${one}`]);
  assert.deepEqual(namesFor(id, "a.test/app:1", { ...image, repoTags: [], repoDigests: [] }), [
    id,
    id,
  ]);
  assert.deepEqual(namesFor("a.test/app:1", "", { ...image, repoDigests: [] }), [
    "a.test/app:1",
    id,
  ]);
});
