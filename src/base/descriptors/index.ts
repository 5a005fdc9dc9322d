// What the code in src/gen calls in place of @bufbuild/protobuf/codegenv2: the same descriptors, but each message is read
// when it is first used. The library reads all messages of a file when the file is imported, which took a tenth of the start
// of the daemon. Only what src/gen has: proto3, without extensions and groups (descriptors.test.ts compares all of it).
import type { DescEnum, DescFile, DescMessage, DescService } from "@bufbuild/protobuf";
import type * as library from "@bufbuild/protobuf/codegenv2";
import { bytesIn, Described, deprecated, ofFile, option, read, textIn } from "./encoded.ts";
import { ProtoEnum } from "./enum.ts";
import { ProtoMessage } from "./message.ts";
import { ProtoService } from "./service.ts";

export type { GenEnum, GenFile, GenMessage, GenService } from "@bufbuild/protobuf/codegenv2";

/** The descriptor of a file, from its google.protobuf.FileDescriptorProto in base64. */
export const fileDesc: typeof library.fileDesc = (base64, imports = []) =>
  new ProtoFile(Buffer.from(base64, "base64"), imports);

/** The message at an index of its file, or the one at the next index in that, and so on. */
export const messageDesc = messageAt as typeof library.messageDesc;

/** The enum at the last index of the message that the others lead to, or of the file. */
export const enumDesc = enumAt as typeof library.enumDesc;

/** The service at an index of its file. */
export const serviceDesc = serviceAt as typeof library.serviceDesc;

function serviceAt(file: DescFile, path: number): DescService {
  return file.services[path] as DescService;
}

function enumAt(file: DescFile, ...path: readonly number[]): DescEnum {
  const outer = path.length > 1 ? messageAt(file, path[0] ?? 0, ...path.slice(1, -1)) : undefined;
  return (outer?.nestedEnums ?? file.enums)[path.at(-1) ?? 0] as DescEnum;
}

function messageAt({ messages }: DescFile, top: number, ...nested: readonly number[]): DescMessage {
  const first = messages[top] as DescMessage;
  return nested.reduce((outer, at) => outer.nestedMessages[at] as DescMessage, first);
}

// Edition.EDITION_PROTO3, without the library's descriptors of descriptors.
const proto3 = 999 as unknown as DescFile["edition"];

class ProtoFile extends Described implements DescFile {
  readonly kind = "file";
  readonly edition = proto3;
  readonly deprecated: boolean;
  readonly dependencies: DescFile[];
  readonly messages: DescMessage[];
  readonly enums: DescEnum[];
  readonly extensions = [];
  readonly services: DescService[];

  constructor(bytes: Buffer, imports: readonly DescFile[]) {
    const fields = read(bytes);
    super(textIn(fields, ofFile.name).replace(/\.proto$/, ""));
    const scope = textIn(fields, ofFile.package);
    const owner = { file: this, parent: undefined, scope };
    this.deprecated = option(fields, ofFile.options, deprecated.file) === 1;
    this.dependencies = [...imports];
    this.messages = bytesIn(fields, ofFile.message).map((each) => new ProtoMessage(each, owner));
    this.enums = bytesIn(fields, ofFile.enum).map((each) => new ProtoEnum(each, owner));
    this.services = bytesIn(fields, ofFile.service).map((each) => new ProtoService(each, owner));
  }

  override toString(): string {
    return `file ${this.name}.proto`;
  }
}
