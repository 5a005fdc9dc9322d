import type { Image, ImageConfig, ImageLayer } from "../../core/image/index.ts";
import { Fields } from "./fields.ts";
import { checkVersion, digestOf, type Row, textOf } from "./row.ts";
import type { RowFormat } from "./table.ts";

/** The version of the records that are written: the column `version`, and `v` in the JSON. */
const version = 1;

/** Images: one JSON text each, sizes as strings of digits; the id is the row's key. */
export const imageRows: RowFormat<Image> = {
  kind: "image",
  noun: "image",
  key: "id",
  keyOf: (image) => image.id,
  columns: (image) => ({
    id: image.id,
    version,
    body: JSON.stringify({
      v: version,
      ...image,
      id: undefined,
      sizeBytes: image.sizeBytes.toString(),
      layers: image.layers.map((layer) => ({ ...layer, sizeBytes: layer.sizeBytes.toString() })),
    }),
  }),
  parse,
};

function parse(row: Row): Image {
  checkVersion(row, version);
  const fields = Fields.parse(textOf(row, "body"), version);
  const artifactType = fields.optionalString("artifactType");
  const checkpointOf = fields.optionalString("checkpointOf");
  return {
    ...(artifactType !== undefined && { artifactType }),
    ...(checkpointOf !== undefined && { checkpointOf }),
    id: digestOf(row, "id"),
    repoTags: fields.strings("repoTags"),
    repoDigests: fields.strings("repoDigests"),
    sizeBytes: fields.bigint("sizeBytes"),
    layers: fields.objects("layers").map(parseLayer),
    config: parseImageConfigFields(fields.object("config")),
    configJson: fields.string("configJson"),
    pinned: fields.boolean("pinned"),
  };
}

function parseLayer(fields: Fields): ImageLayer {
  return {
    diffId: fields.digest("diffId"),
    digest: fields.digest("digest"),
    sizeBytes: fields.bigint("sizeBytes"),
  };
}

/** The image configuration, as image and container records have it. */
export function parseImageConfigFields(fields: Fields): ImageConfig {
  return {
    entrypoint: fields.strings("entrypoint"),
    cmd: fields.strings("cmd"),
    env: fields.strings("env"),
    workingDir: fields.string("workingDir"),
    user: fields.string("user"),
    stopSignal: fields.string("stopSignal"),
    volumes: fields.strings("volumes"),
    labels: fields.stringMap("labels"),
  };
}
