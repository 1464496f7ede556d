// SPDX-License-Identifier: Apache-2.0
//
// airstore-gateway copy: the command line of workspace_copy.h.
//
// Threads: the main one.
// Fails how: as main.cc.
#pragma once

namespace airstore::gateway {

// `argv[0]` is "copy". Answers the exit status.
int CopyMain(int argc, char** argv);

}  // namespace airstore::gateway
