import type { RuntimeConfig } from "./config.ts";
import { flag, optionalPath, type Section } from "./setting.ts";

/** The settings of [runtime] for classes of block I/O and RDT. */
export const classes: Section<
  Pick<
    RuntimeConfig,
    | "blockioConfigFile"
    | "rdtConfigFile"
    | "ignoreBlockioNotEnabledErrors"
    | "ignoreRdtNotEnabledErrors"
  >
> = {
  blockioConfigFile: optionalPath({
    default: "",
    doc: "A YAML file with classes of block I/O, as containerd and CRI-O read it. It is read again when it has changed. Empty for no classes. See docs/resources.md.",
  }),
  rdtConfigFile: optionalPath({
    default: "",
    doc: "A YAML file with RDT classes (cache and memory bandwidth), as containerd and CRI-O read it. davit makes their groups in resctrl, and reads the file again when it has changed. Empty for no classes. See docs/resources.md.",
  }),
  ignoreBlockioNotEnabledErrors: flag({
    default: false,
    doc: "true starts containers without their class of block I/O where blockio_config_file is not set or the kernel cannot limit block I/O.",
  }),
  ignoreRdtNotEnabledErrors: flag({
    default: false,
    doc: "true starts containers without their RDT class where rdt_config_file is not set or resctrl is not mounted.",
  }),
};
