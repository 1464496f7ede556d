// SPDX-License-Identifier: Apache-2.0
//
// In place of shm/abi.cc: a program that says it is of another ABI. Segments of such programs are
// as foreign to ours as if their layout were another one.
#include "shm/abi.h"

namespace airstore::shm {

uint32_t AbiMajor() { return kAbiMajor + 1000; }

}  // namespace airstore::shm
