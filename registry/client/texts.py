"""What people read: on the card, before they share, when a step is refused, from commands. English, Chinese.

Every text must say what it means for the person and what to do; none may promise what is not known.
"""

from collections.abc import Mapping
from typing import Literal

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")

CARD_TEXTS: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "green": "GREEN: no contact with a person found positive is known",
        "orange": "ORANGE: you were near a person who was found positive, by a test or a doctor",
        "stale": "OUT OF DATE: this card cannot say whether you were exposed",
        "exposed": "Day of the contact (UTC): {day}",
        "advice": "Take a nucleic-acid test and observe your health for the next days. If you feel ill, "
        "call a doctor before you go there.",
        "not_checked": "The last complete check is more than 48 hours ago. Go online and check again.",
        "never_checked": "This phone has not completed a check yet. Go online and check.",
        "last_checked": "Last complete check: {time} UTC",
        "withdrawn": "A warning about {day} was withdrawn by the health authority.",
        "demonstration": "DEMONSTRATION, not for real people.",
        "staged": "STAGED DEMONSTRATION: this phone's past days are made up.",
    },
    "zh": {
        "green": "绿色：未发现与阳性者的接触",
        "orange": "橙色：您曾在一名经检测或医生诊断为阳性的人附近",
        "stale": "已过期：此卡目前无法判断您是否有过接触",
        "exposed": "接触日期（世界协调时）：{day}",
        "advice": "请做核酸检测，并在今后几天观察自己的健康状况。如感不适，请先致电医生再前往就诊。",
        "not_checked": "上次完整检查已超过 48 小时。请联网后重新检查。",
        "never_checked": "本机尚未完成过检查。请联网后进行检查。",
        "last_checked": "上次完整检查：{time}（世界协调时）",
        "withdrawn": "关于 {day} 的提醒已由卫生机构撤回。",
        "demonstration": "演示用途，不适用于真实人员。",
        "staged": "情景演示：本机过去各日的密钥均为虚构。",
    },
}

UPLOAD_TEXTS_VERSION = "2026-11"
"""Stands in every consent record: a new wording of what is shown before a person agrees is a new version."""

UPLOAD_TEXTS: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "heading": "If you agree, this phone shares the keys of these days (UTC):",
        "day": "{day}: one key, whole day",
        "today": "{day} (today): one key; it is published only after the day has ended",
        "details": "With each key goes the kind of your result, and how many days before or after your first "
        "symptoms its day lies. If that day is not known, an assumed one is used.",
        "meaning": "From them other phones find out by themselves, without telling anybody, whether "
        "they were near you on those days. The registry learns neither your name nor your number, nor whom "
        "you met or where. What was published cannot be called back from phones that have fetched it; the "
        "registry deletes it after 21 days.",
        "staged": "These keys are staged: made up for a demonstration.",
        "question": "Share them?",
        "declined": "Nothing was shared.",
        "code": "Verification code",
        "show_code": "Show this code to the health official, or read it out. Once it is good: upload.",
        "mistyped": "This cannot be the code: compare it character by character, and type it again.",
        "again": "Nothing is lost: run `upload` again for this phone, without a code.",
        "abandoned": "The unfinished upload was forgotten.",
        "nothing_to_abandon": "There is no unfinished upload, so there was nothing to forget.",
        "resumed": "Going on with the upload that you agreed to before.",
        "done": "Done. Keys taken in: {count}.",
        "published": "Each is published once its day has been over for two hours.",
        "changed": "The earlier upload was changed: its keys that were sent again now stand for this result.",
        "partial": "Not every key was taken in: {reason}",
    },
    "zh": {
        "heading": "如您同意，本机将分享以下日期（世界协调时）的密钥：",
        "day": "{day}：一个密钥，全天",
        "today": "{day}（今天）：一个密钥；当天结束后才会公布",
        "details": "每个密钥还附有您的结果类型，以及该日在首次出现症状之前或之后多少天。"
        "如不知道首次出现症状的日期，则按推定的日期计算。",
        "meaning": "其他手机据此自行判断当天是否曾在您附近，且不会告知任何人。登记系统不会得知您的姓名、"
        "号码，也不会得知您见过谁、到过何处。已被其他手机获取的内容无法收回；登记系统会在 21 天后将其删除。",
        "staged": "这些密钥是为演示而虚构的。",
        "question": "是否分享？",
        "declined": "未分享任何内容。",
        "code": "验证码",
        "show_code": "请向卫生人员出示或念出此验证码。激活后，用它继续：upload。",
        "mistyped": "验证码有误：请逐位核对后重新输入。",
        "again": "没有任何损失：请对本机再次运行 `upload`，无需验证码。",
        "abandoned": "已放弃未完成的上传。",
        "nothing_to_abandon": "没有未完成的上传，无需放弃。",
        "resumed": "继续您先前已同意的上传。",
        "done": "完成。已接收密钥：{count} 个。",
        "published": "每个密钥在当天结束满两小时后公布。",
        "changed": "先前的上传已更改：再次发送的密钥现按此次结果处理。",
        "partial": "并非所有密钥都被接收：{reason}",
    },
}

PHONE_TEXTS: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "belongs": "This phone now belongs to {address}, region {region}.",
        "staged": "STAGED: 14 days of past keys were made up.",
        "keys_changed": "The registry's keys changed. New: {added}; gone: {removed}.",
        "none": "none",
        "sightings": "New sightings: {count}.",
        "known": "Left out because they were known already: {count}.",
        "own": "Left out because they were this phone's own: {count}.",
        "too_old": "Left out because they are older than 21 days: {count}.",
        "staged_meeting": "STAGED: a meeting of a past day was entered by hand; the card says so from now "
        "on.",
        "fingerprint": "Fingerprint of the registry's root key: {fingerprint}",
        "compare": "Compare it with the one that the health authority gives out: on paper, on its own pages, "
        "by telephone, but not from this registry.",
        "same": "Is it the same, all eight groups?",
        "not_compared": "NOT COMPARED: nobody has said that this is the registry's fingerprint. Only a "
        "demonstration may go without; --fingerprint says it.",
        "proven": "Proven: the newest index of the registry's log, {size} leaves; cosigned by {cosigned} of "
        "{witnesses} witnesses, by enough of them at {time}.",
        "proven_alone": "Proven: the newest index of the registry's log, {size} leaves, of {time}. Its "
        "policy asks for no witness.",
        "not_proven": "NOT PROVEN by the log this time: that is borne with for a while only.",
        "warning": "Warning: {words}",
        "no_evidence": "This phone was shown nothing that speaks against the registry.",
        "evidence": "{time}, {kind}: {words}",
        "believed": "What this phone had believed:",
        "offered": "What it was shown then:",
        "evidence_advice": "Give all of it to an auditor: the signatures in it prove who said what.",
        "nothing_new": "Nothing new.",
        "read": "Files read: {files}, with {keys} keys.",
        "met": "This phone was near a person found positive on: {days}.",
        "withdrawn": "Warnings withdrawn: {count}.",
        "unread": "Files left for the next poll: {count}.",
        "receipts_forgotten": "Receipts forgotten: {count}. They cannot be had again.",
        "withdraw_meaning": "Everything that this phone has shared is taken back, for good. A key that was "
        "not published yet never will be. For a published one the next files say that it is revoked.",
        "withdraw_question": "Take it back?",
        "withdraw_declined": "Nothing was taken back.",
        "withdraw_done": "Taken back. Phones that were warned because of you read that with the next files: "
        "their warning goes, and the card says that it was withdrawn. Apps that were not made for this "
        "registry may keep a warning that rests on a positive result.",
        "pause": "The registry asks to be left alone until {time}.",
        "next": "Next poll: {time}.",
    },
    "zh": {
        "belongs": "本机现属于 {address}，地区 {region}。",
        "staged": "情景演示：已虚构过去 14 天的密钥。",
        "keys_changed": "登记系统的公钥已更换。新增：{added}；移除：{removed}。",
        "none": "无",
        "sightings": "新收到的标识：{count} 个。",
        "known": "因已收录而略去：{count} 个。",
        "own": "因属本机所发而略去：{count} 个。",
        "too_old": "因超过 21 天而略去：{count} 个。",
        "staged_meeting": "情景演示：手工录入了过去某日的相遇；此后卡上将注明。",
        "fingerprint": "登记系统根公钥的指纹：{fingerprint}",
        "compare": "请与卫生机构公布的指纹核对：以其书面材料、其自有网页或电话为准，"
        "不要以本登记系统的页面为准。",
        "same": "八组是否完全一致？",
        "not_compared": "未经核对：尚无人确认此指纹属于该登记系统。仅演示可以不核对；"
        "请用 --fingerprint 给出。",
        "proven": "已证明：此为登记系统日志中最新的索引，共 {size} 个叶子；"
        "{witnesses} 个见证方中有 {cosigned} 个已联署，达到法定数的时间：{time}。",
        "proven_alone": "已证明：此为登记系统日志中最新的索引，共 {size} 个叶子，时间：{time}。"
        "其策略不要求见证方。",
        "not_proven": "本次未得到日志的证明：仅在一段时间内容许。",
        "warning": "警告：{words}",
        "no_evidence": "本机未曾收到任何对登记系统不利的内容。",
        "evidence": "{time}，{kind}：{words}",
        "believed": "本机先前所相信的：",
        "offered": "其后向本机出示的：",
        "evidence_advice": "请将以上全部内容交给审计人员：其中的签名可证明出自何方。",
        "nothing_new": "没有新内容。",
        "read": "已读取文件：{files} 个，含密钥 {keys} 个。",
        "met": "本机曾在阳性者附近，日期：{days}。",
        "withdrawn": "已撤回的提醒：{count} 条。",
        "unread": "留待下次检查的文件：{count} 个。",
        "receipts_forgotten": "已删除回执：{count} 份，无法再取得。",
        "withdraw_meaning": "本机分享过的全部内容将被永久撤回。尚未公布的密钥不会再公布；"
        "已公布的密钥，将在下一批文件中注明已撤销。",
        "withdraw_question": "是否撤回？",
        "withdraw_declined": "未撤回任何内容。",
        "withdraw_done": "已撤回。因您而收到提醒的手机读取下一批文件后，提醒即取消，卡上会注明已撤回。"
        "并非为本登记系统制作的应用，可能仍会保留依据阳性结果的提醒。",
        "pause": "登记系统要求在 {time} 之前不要再来查询。",
        "next": "下次检查：{time}。",
    },
}

_NEW_CODE: Mapping[Language, str] = {
    "en": "Ask the health official for a new code, then upload again.",
    "zh": "请向卫生人员索取新的验证码后重新上传。",
}

REFUSAL_TEXTS: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "code_invalid": "The code is wrong or was used before. Compare it with what you were given. "
        + _NEW_CODE["en"],
        "code_expired": "The code has expired. " + _NEW_CODE["en"],
        "code_not_found": "The registry does not know this code. " + _NEW_CODE["en"],
        "unsupported_test_type": "The code is for a kind of result that this phone cannot upload. "
        + _NEW_CODE["en"],
        "token_invalid": "The registry no longer accepts the code's first half. " + _NEW_CODE["en"],
        "token_expired": "Too much time has passed since the code was entered. " + _NEW_CODE["en"],
        "health_authority_verification_certificate_invalid": "The certificate has expired or does not fit "
        "the keys. " + _NEW_CODE["en"],
        "missing_revision_token": "Some of these keys were uploaded before, from a store that is lost. "
        "Tell the health official.",
        "invalid_revision_token": "The registry cannot connect this with your earlier upload. "
        "Tell the health official.",
        "key_already_revised": "These keys were changed once before and cannot be changed again. "
        "Tell the health official.",
        "invalid_report_type_transition": "The new result cannot replace the one uploaded before. "
        "Tell the health official.",
        "unauthorized": "The registry does not accept this phone's API key. Run `init` again for this "
        "phone with a current --api-key-file, then upload again without a code.",
        "unknown_health_authority_id": "The registry does not know the health authority. Run `init` again "
        "for this phone with the right --health-authority, then upload again without a code.",
        "health_authority_missing_region_config": "The registry cannot take uploads of this health authority "
        "yet. Tell the health official; once it is mended, or after `init` with the right "
        "--health-authority, upload again without a code.",
    },
    "zh": {
        "code_invalid": "验证码有误或已被使用。请与收到的内容核对。" + _NEW_CODE["zh"],
        "code_expired": "验证码已过期。" + _NEW_CODE["zh"],
        "code_not_found": "登记系统没有此验证码。" + _NEW_CODE["zh"],
        "unsupported_test_type": "此验证码所对应的结果类型，本机无法上传。" + _NEW_CODE["zh"],
        "token_invalid": "登记系统不再接受此前换取的凭据。" + _NEW_CODE["zh"],
        "token_expired": "输入验证码后等待过久。" + _NEW_CODE["zh"],
        "health_authority_verification_certificate_invalid": "证书已过期或与密钥不符。" + _NEW_CODE["zh"],
        "missing_revision_token": "其中部分密钥曾由另一份已丢失的存储上传。请告知卫生人员。",
        "invalid_revision_token": "登记系统无法将其与您先前的上传对应。请告知卫生人员。",
        "key_already_revised": "这些密钥已被更改过一次，不能再次更改。请告知卫生人员。",
        "invalid_report_type_transition": "新结果不能替换先前上传的结果。请告知卫生人员。",
        "unauthorized": "登记系统不接受本机的接口密钥。请用有效的 --api-key-file 对本机重新运行 "
        "`init`，然后不带验证码再次上传。",
        "unknown_health_authority_id": "登记系统不认识该卫生机构。请用正确的 --health-authority 对本机"
        "重新运行 `init`，然后不带验证码再次上传。",
        "health_authority_missing_region_config": "登记系统尚不能接收该卫生机构的上传。请告知卫生人员；"
        "问题解决后，或用正确的 --health-authority 重新运行 `init` 后，不带验证码再次上传。",
    },
}

OTHER_REFUSAL: Mapping[Language, str] = {
    "en": "The registry refused the upload. Tell the health official what stands above.",
    "zh": "登记系统拒绝了上传。请将上述内容告知卫生人员。",
}


def printable(text: str, *, longest: int = 300) -> str:
    """Words from outside, fit for a terminal: no control characters, `longest` characters at most."""
    return "".join(character for character in text if character.isprintable())[:longest]


def refusal_advice(code: str, language: Language) -> str:
    """What the person should do about an error code of the upload contract."""
    return REFUSAL_TEXTS[language].get(code, OTHER_REFUSAL[language])
