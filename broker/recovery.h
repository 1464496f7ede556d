// SPDX-License-Identifier: Apache-2.0
//
// Recovery: brings to the gateway what a session left behind when everything of it was killed.
//
// It reads the journal, puts writes that lanes still hold into their files, resumes the session,
// sends again what was numbered (the gateway applies each number once), then the other changes in
// their order, then every dirty content file as it is now; then the session is closed and its spool
// removed. After a boot of the machine lanes say nothing, and content that is shorter than the
// gateway's is not sent over it. It may itself be killed at any time: the next one goes on from the
// journal. While the gateway is away it tries again for ever.
//
// Threads: the event loop.
// Owns: the spool of the session, until done().
// Fails: what the gateway refuses goes to lost+found.
#pragma once

#include <boost/asio/thread_pool.hpp>
#include <functional>
#include <memory>
#include <string>

#include "broker/broker_api.h"
#include "broker/gateway.h"
#include "broker/journal_sync.h"
#include "broker/lost_found.h"
#include "broker/replay_contents.h"
#include "broker/session_manifest.h"
#include "broker/spool_budget.h"

namespace airstore::broker {

class Recovery {
 public:
  using MakeGateway = std::function<Outcome<std::shared_ptr<Gateway>>(const std::string& address,
                                                                      const std::string& token)>;
  // `spool`: the session's directory; lost+found is beside it.
  Recovery(boost::asio::any_io_executor executor, boost::asio::thread_pool* workers,
           std::string spool, SessionManifest manifest, MakeGateway make_gateway,
           SpoolBudget* budget);

  // Whoever goes on with the session may change the content files.
  ~Recovery();

  // Starts it; once. It may be destroyed only when done, or when the loop does not run any more.
  void Start();
  bool done() const { return done_; }
  // It cannot go on before somebody acts: the token is refused.
  bool stuck() const { return stuck_; }
  // There is nothing that has to reach the gateway.
  bool clean() const { return pending() == 0 && dirty_bytes() == 0; }
  size_t pending() const;
  uint64_t dirty_bytes() const;
  const SessionManifest& manifest() const { return manifest_; }
  const std::string& spool() const { return spool_; }
  bool journal_torn() const { return torn_; }
  const std::string& last_error() const;
  SessionStatus Status() const;
  // Another token of the same principal, for one that is stuck.
  void SetToken(const std::string& token);
  // Sends without lingering.
  void Hurry();

 private:
  Task<void> Run();
  Task<void> ReadJournal();
  void FinishElisions();
  Task<void> ApplyLanes();
  Task<void> SyncJournal();
  void SealContents();
  // False: there is nothing to resume.
  Task<bool> Resume();
  Task<void> Send();
  void Finish();
  bool KeepRest();
  void GiveUp(int error);
  void Refused(const Mutation& mutation, int error);
  void Lose(LostItem item, const std::string& content);
  std::string PathOf(uint64_t inode) const;
  std::string ContentPath() const;

  boost::asio::any_io_executor executor_;
  boost::asio::thread_pool* workers_;
  Tasks tasks_;
  std::string spool_;
  SessionManifest manifest_;
  MakeGateway make_gateway_;
  LostFound lost_;
  SpoolBudget::Share space_;
  JournalState state_;
  bool torn_ = false;
  std::shared_ptr<Gateway> gateway_;
  std::unique_ptr<SessionJournal> journal_;
  std::unique_ptr<JournalSync> journal_sync_;
  std::unique_ptr<ReplayContents> contents_;
  std::unique_ptr<MutationLog> log_;
  SessionLimits limits_;
  uint64_t last_applied_ = 0;
  std::string error_;
  bool stuck_ = false;
  bool done_ = false;
  bool power_lost_ = false;  // the machine has booted since
};

}  // namespace airstore::broker
