/*
 * For packages (scripts/build-native.sh --package), included before everything else. With _GNU_SOURCE, the headers of
 * glibc 2.38 and newer rename strtol and fscanf to functions that older versions do not have. Those differ only in
 * binary constants, "0b1", which nothing here reads. Without the renaming the addon loads with glibc 2.34.
 */
#define _GNU_SOURCE
#include <features.h>
#undef __GLIBC_USE_C2X_STRTOL
#define __GLIBC_USE_C2X_STRTOL 0
#undef __GLIBC_USE_C23_STRTOL
#define __GLIBC_USE_C23_STRTOL 0
