// SPDX-License-Identifier: Apache-2.0
//
// Another token for a session whose own one is not valid any more: what is unsent goes on with it.
#include <spdlog/spdlog.h>
#include <sys/random.h>

#include "broker/broker.h"
#include "broker/log_event.h"

namespace airstore::broker {

Task<Result<void>> Broker::GiveToken(SlotPtr slot, Secret token) {
  const Session& session = *slot->session;
  SessionManifest manifest{.gateway = session.gateway_address(),
                           .workspace_id = session.workspace_id(),
                           .workspace = session.workspace(),
                           .token = token,
                           .principal = session.principal(),
                           .session = session.id(),
                           .read_only = session.read_only(),
                           .store_dir = session.store_dir(),
                           .boot_id = BootId(),
                           .protocol = session.protocol(),
                           .services = session.services()};
  auto write = [](std::string to, SessionManifest what) -> Task<Result<void>> {
    co_return WriteManifest(to, what);
  };
  Task<Result<void>> writing = write(session.spool(), std::move(manifest));
  auto written = co_await boost::asio::co_spawn(workers_.get_executor(), std::move(writing),
                                                boost::asio::use_awaitable);
  if (!written || slot->closing) co_return written;
  slot->token = token;
  slot->session->SetToken(token);
  LogEvent(spdlog::level::info, {{"workspace", session.workspace()}},
           "workspace {}: goes on with another token", session.workspace());
  co_return Result<void>{};
}

Task<Outcome<MountStatus>> Broker::Remount(MountPtr mount, MountSpec spec) {
  using Answer = Outcome<MountStatus>;
  const Failure busy{
      FailureKind::kBusy,
      spec.mountpoint + " is already a mount of workspace " + mount->session()->workspace(),
      "its token is refused: give another one for this workspace and principal"};
  SlotPtr slot;
  for (const SlotPtr& candidate : sessions_) {
    if (candidate->session.get() == mount->session()) slot = candidate;
  }
  if (!slot || spec.gateway != slot->session->gateway_address()) co_return Answer{{}, busy};
  auto made = make_gateway_(spec.gateway, spec.token);
  if (!made.value) co_return Answer{{}, made.failure};
  shm::SessionId id;
  AIRSTORE_CHECK(getrandom(id.data(), id.size(), 0) == static_cast<ssize_t>(id.size()));
  ++slot->users;  // it stays meanwhile
  auto opened = co_await (*made.value)->Open(spec.workspace, id, false);
  Result<void> given;
  bool same = false;
  if (opened) {
    (void)co_await (*made.value)->Close();
    same = opened->workspace_id == slot->session->workspace_id() &&
           opened->principal == slot->session->principal() &&
           opened->read_only == slot->session->read_only();
    if (same) given = co_await GiveToken(slot, spec.token);
  }
  if (--slot->users == 0) broker::Spawn(executor_, DropSessionWhenClean(slot));
  if (!opened) {
    co_return Answer{{}, explain_open_(opened.error(), spec.gateway, spec.workspace)};
  }
  if (!same) co_return Answer{{}, busy};
  if (!given) co_return Answer{{}, {FailureKind::kHost, given.error().ToString(), ""}};
  co_return Answer{mount->Status(), {}};
}

}  // namespace airstore::broker
