import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";

/** The fields of a message to be made. */
export type Fields<Desc extends DescMessage> = Exclude<MessageInitShape<Desc>, MessageShape<Desc>>;
