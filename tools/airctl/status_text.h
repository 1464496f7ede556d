// SPDX-License-Identifier: Apache-2.0
//
// Answers of the broker for people.
// Threads: pure functions.
#pragma once

#include <airstore/control/v1/control.pb.h>

#include <ostream>

namespace airstore::airctl {

// Overview of everything; with details of the mount when `one_mount`.
void PrintStatus(std::ostream& out, const control::v1::StatusResponse& status, bool one_mount,
                 bool colours);
void PrintMounted(std::ostream& out, const control::v1::MountInfo& mount, bool verbose);
void PrintDirty(std::ostream& out, const control::v1::DirtyResponse& dirty, bool colours);
void PrintWorkspaces(std::ostream& out, const control::v1::WorkspaceList& list, bool colours);
void PrintTokens(std::ostream& out, const control::v1::TokenList& list, bool colours);
void PrintAccess(std::ostream& out, const control::v1::AccessEvents& list, bool colours);

}  // namespace airstore::airctl
