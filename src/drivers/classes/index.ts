// Classes of block I/O and RDT, which requests name by annotations and NRI plugins by fields: reads the files that
// define them, the node's block devices and resctrl. Loaded only where such a file is set or a request names a
// class. Start with node-classes.ts.
export { checkRdtFile } from "./check-rdt-file.ts";
export { parseBlockIoFile } from "./class-file.ts";
export { NodeClasses } from "./node-classes.ts";
