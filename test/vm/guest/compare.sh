#!/bin/sh
# The time that pods take, with the cgroups that the machine has.
exec node test/vm/guest/compare.ts
