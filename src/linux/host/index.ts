/** The host itself: kernel and boot id, devices, free disk space, the service manager. */
export { describeFullDisk, DiskRoom, type DiskSpace } from "./disk-room.ts";
export { hostBootId, isRunBySystemd, kernelRelease, systemdDirectory } from "./host.ts";
export { notifyService } from "./notify.ts";
export { type DeviceNode, listDevices } from "./devices.ts";
