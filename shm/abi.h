// SPDX-License-Identifier: Apache-2.0
//
// Which ABI of shared memory this program speaks, as far as others are told. A function, so that a
// test can link a program that says it is of another one.
// Threads: any.
#pragma once

#include <cstdint>
#include <string>

#include "shm/layout.h"

namespace airstore::shm {

uint32_t AbiMajor();
// "5.1"
inline std::string AbiText(uint32_t major, uint32_t minor) {
  return std::to_string(major) + "." + std::to_string(minor);
}
inline std::string OwnAbi() { return AbiText(AbiMajor(), kAbiMinor); }

}  // namespace airstore::shm
