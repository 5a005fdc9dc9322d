import { BinaryReader, BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

import { invalid, imageEntries, writeImage } from "./image-file.ts";

// The fields of utsns_entry (criu, images/utsns.proto).
const nodename = 1;
const domainname = 2;

/** The image of a UTS namespace with another hostname. */
export function withHostname(file: Uint8Array, hostname: string): Uint8Array {
  const [entry, ...more] = imageEntries("uts", file);
  if (entry === undefined || more.length > 0) throw invalid("uts", "it must have one entry");
  const writer = new BinaryWriter().tag(nodename, WireType.LengthDelimited).string(hostname);
  writer.tag(domainname, WireType.LengthDelimited).string(domainOf(entry));
  return writeImage("uts", [writer.finish()]);
}

function domainOf(entry: Uint8Array): string {
  try {
    const reader = new BinaryReader(entry);
    let domain = "";
    while (reader.pos < reader.len) {
      const [field, type] = reader.tag();
      if (field === domainname && type === WireType.LengthDelimited) domain = reader.string();
      else reader.skip(type, field);
    }
    return domain;
  } catch {
    throw invalid("uts", "its entry is damaged");
  }
}
