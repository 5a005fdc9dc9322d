import type { IntelRdt, OciBlockIo } from "../oci/index.ts";

/** Who names a class: an annotation of the container or of its pod, or an NRI plugin. */
export type ClassOrigin = "container" | "pod" | "plugin";

/**
 * The classes of block I/O and of RDT (cache and memory bandwidth) that files of the node define, and that
 * requests name.
 */
export interface ResourceClasses {
  /**
   * The limits of a class of block I/O for the devices that the node has now. Undefined where classes are not
   * enabled and the node ignores that. `failed-precondition` names the class and why it cannot be used.
   */
  blockIoOf(name: string): Promise<OciBlockIo | undefined>;
  /**
   * What a container of an RDT class has in `linux.intelRdt` of its spec; its resctrl group exists. Undefined
   * as blockIoOf(), and for the class of the node's other processes. `failed-precondition` as blockIoOf(), and
   * for a class that is not open to `origin`.
   */
  rdtOf(name: string, origin: ClassOrigin): Promise<IntelRdt | undefined>;
}
