import { RuntimeError } from "../../base/errors.ts";

/**
 * A layer cannot be stored in the format of new layers. The next `Layers.unpack` of the same layer stores it in
 * another one, and needs its bytes again.
 */
export class OtherFormat extends RuntimeError {
  constructor(message: string) {
    super("unimplemented", message);
    this.name = "OtherFormat";
  }
}

/** Unpacks a layer by `unpack`, which opens its blob, and once more if it needs another format. */
export async function unpackInAnyFormat(unpack: () => Promise<void>): Promise<void> {
  try {
    await unpack();
  } catch (error) {
    if (!(error instanceof OtherFormat)) throw error;
    await unpack();
  }
}
