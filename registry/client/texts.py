"""What people read on the card, before they share, and when a step is refused: English and Chinese.

Every text must say what it means for the person and what to do; none may promise what is not known.
"""

from collections.abc import Mapping
from typing import Literal

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")

CARD_TEXTS: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "green": "GREEN: no contact with a confirmed case is known",
        "orange": "ORANGE: you were near a person who has been confirmed positive",
        "stale": "OUT OF DATE: this card cannot say whether you were exposed",
        "exposed": "Day of the contact (UTC): {day}",
        "advice": "Take a nucleic-acid test and observe your health for the next days. If you feel ill, "
        "call a doctor before you go there.",
        "not_checked": "The last complete check is more than 48 hours ago. Go online and check again.",
        "never_checked": "This phone has not completed a check yet. Go online and check.",
        "last_checked": "Last complete check: {time} UTC",
        "withdrawn": "A warning about {day} was withdrawn by the health authority: it was a mistake.",
        "demonstration": "DEMONSTRATION, not for real people.",
        "staged": "STAGED DEMONSTRATION: this phone's past days are made up.",
    },
    "zh": {
        "green": "绿色：未发现与确诊者的接触",
        "orange": "橙色：您曾与一名确诊阳性者近距离接触",
        "stale": "已过期：此卡目前无法判断您是否有过接触",
        "exposed": "接触日期（世界协调时）：{day}",
        "advice": "请做核酸检测，并在今后几天观察自己的健康状况。如感不适，请先致电医生再前往就诊。",
        "not_checked": "上次完整检查已超过 48 小时。请联网后重新检查。",
        "never_checked": "本机尚未完成过检查。请联网后进行检查。",
        "last_checked": "上次完整检查：{time}（世界协调时）",
        "withdrawn": "关于 {day} 的提醒已由卫生机构撤回：该结果有误。",
        "demonstration": "演示用途，不适用于真实人员。",
        "staged": "情景演示：本机过去各日的密钥均为虚构。",
    },
}

UPLOAD_TEXTS: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "heading": "If you agree, this phone shares the keys of these days (UTC):",
        "day": "{day}: one key, whole day",
        "today": "{day} (today): one key; it is published only after the day has ended",
        "meaning": "From them other phones find out by themselves, without telling anybody, whether "
        "they were near you on those days. The registry learns neither your name nor your number, nor whom "
        "you met or where. What was published cannot be called back from phones that have fetched it; the "
        "registry deletes it after 21 days.",
        "staged": "These keys are staged: made up for a demonstration.",
        "question": "Share them?",
        "declined": "Nothing was shared.",
        "code": "Verification code",
        "again": "Nothing is lost: run `registry phone upload` again, without a code.",
        "abandoned": "The unfinished upload was forgotten.",
        "resumed": "Going on with the upload that you agreed to before.",
        "done": "Done. Keys taken in: {count}. Each is published once its day has been over for two hours.",
        "partial": "Not every key was taken in: {reason}",
    },
    "zh": {
        "heading": "如您同意，本机将分享以下日期（世界协调时）的密钥：",
        "day": "{day}：一个密钥，全天",
        "today": "{day}（今天）：一个密钥；当天结束后才会公布",
        "meaning": "其他手机据此自行判断当天是否曾在您附近，且不会告知任何人。登记处不会得知您的姓名、号码，"
        "也不会得知您见过谁、到过何处。已被其他手机获取的内容无法收回；登记处会在 21 天后将其删除。",
        "staged": "这些密钥是为演示而虚构的。",
        "question": "是否分享？",
        "declined": "未分享任何内容。",
        "code": "验证码",
        "again": "没有任何损失：请再次运行 `registry phone upload`，无需验证码。",
        "abandoned": "已放弃未完成的上传。",
        "resumed": "继续您先前已同意的上传。",
        "done": "完成。已接收密钥：{count} 个。每个密钥在当天结束满两小时后公布。",
        "partial": "并非所有密钥都被接收：{reason}",
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
        "unauthorized": "The registry does not accept this phone's API key. Run `registry phone init` again "
        "with a current --api-key-file, then upload again without a code.",
        "unknown_health_authority_id": "The registry does not know the health authority. Run "
        "`registry phone init` again with the right --health-authority, then upload again without a code.",
    },
    "zh": {
        "code_invalid": "验证码有误或已被使用。请与收到的内容核对。" + _NEW_CODE["zh"],
        "code_expired": "验证码已过期。" + _NEW_CODE["zh"],
        "code_not_found": "登记处没有此验证码。" + _NEW_CODE["zh"],
        "unsupported_test_type": "此验证码所对应的结果类型，本机无法上传。" + _NEW_CODE["zh"],
        "token_invalid": "登记处不再接受此前换取的凭据。" + _NEW_CODE["zh"],
        "token_expired": "输入验证码后等待过久。" + _NEW_CODE["zh"],
        "health_authority_verification_certificate_invalid": "证书已过期或与密钥不符。" + _NEW_CODE["zh"],
        "missing_revision_token": "其中部分密钥曾由另一份已丢失的存储上传。请告知卫生人员。",
        "invalid_revision_token": "登记处无法将其与您先前的上传对应。请告知卫生人员。",
        "key_already_revised": "这些密钥已被更改过一次，不能再次更改。请告知卫生人员。",
        "invalid_report_type_transition": "新结果不能替换先前上传的结果。请告知卫生人员。",
        "unauthorized": "登记处不接受本机的接口密钥。请用有效的 --api-key-file 重新运行 "
        "`registry phone init`，然后不带验证码再次上传。",
        "unknown_health_authority_id": "登记处不认识该卫生机构。请用正确的 --health-authority 重新运行 "
        "`registry phone init`，然后不带验证码再次上传。",
    },
}

OTHER_REFUSAL: Mapping[Language, str] = {
    "en": "The registry refused the upload. Tell the health official what stands above.",
    "zh": "登记处拒绝了上传。请将上述内容告知卫生人员。",
}


def printable(text: str, *, longest: int = 300) -> str:
    """Words from outside, fit for a terminal: no control characters, `longest` characters at most."""
    return "".join(character for character in text if character.isprintable())[:longest]


def refusal_advice(code: str, language: Language) -> str:
    """What the person should do about an error code of the upload contract."""
    return REFUSAL_TEXTS[language].get(code, OTHER_REFUSAL[language])
