// SPDX-License-Identifier: Apache-2.0
#include "shm/abi.h"

namespace airstore::shm {

uint32_t AbiMajor() { return kAbiMajor; }

}  // namespace airstore::shm
