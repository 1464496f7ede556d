// SPDX-License-Identifier: Apache-2.0
//
// Answering a frontend's calls: the operation set of shm::Op over tree and contents.
// Threads: the event loop.
#pragma once

#include <string>
#include <vector>

#include "broker/task.h"
#include "shm/lane.h"

namespace airstore::broker {

class Mount;
class Session;

// `text` receives what goes behind the call's names.
Task<shm::RequestReply> AnswerCall(Session* session, Mount* mount, const shm::Call& call,
                                   std::string* text);

// A change that would fail, or do harm, if it were made twice.
bool ChangesNames(const shm::Call& call);
// shm::OpenMode of what the call has opened.
uint32_t ModeOfOpen(const shm::Call& call, const shm::RequestReply& reply);
// Closes what a call opened whose caller is gone.
void UndoOpen(Session* session, Mount* mount, const shm::Call& call,
              const shm::RequestReply& reply);

// Directories whose inode lock the calling kernel holds while it waits for the answer.
std::vector<uint64_t> LockedDirectories(const shm::Call& call);

}  // namespace airstore::broker
